"""A registry client for registries scripted by a test (`tests.support.web`)."""

from __future__ import annotations

import base64
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from exporter.images import Repository
from exporter.limits import Limit
from exporter.reasons import Reason
from exporter.registry import Limits, RegistryClient, RegistryEntry, RegistryError
from exporter.telemetry import Telemetry
from tests.support.web import Request, Web, reply

LOOPBACK = (ip_network("127.0.0.0/8"),)
NOW = 1_700_000_000.0
# A slow machine needs seconds for any response. Where a test waits for the end of a limit, it sets shorter ones.
PATIENT = Limits(connect=30.0, read=30.0, request=60.0, lookup=180.0, pages=20)
FAST = Limits(connect=3.0, read=3.0, request=5.0, lookup=12.0, pages=20)


def entry_for(server: Web, **more: Any) -> RegistryEntry:
    """An entry that allows plain HTTP and loopback addresses."""
    return RegistryEntry(**{"name": server.host, "insecure": True, "allow_private": LOOPBACK, **more})


def at(server: Web, path: str = "mojaloop/central-ledger") -> Repository:
    return Repository(server.host, path)


@dataclass(frozen=True)
class Opened:
    """A client and its counters."""

    client: RegistryClient
    telemetry: Telemetry

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def value(self, name: str, labels: dict[str, str]) -> float | None:
        return self.telemetry.registry.get_sample_value(name, labels)

    def requests(self, host: str) -> float | None:
        return self.value("mojaloop_exporter_registry_requests_total", {"registry": host})

    def exceeded(self, limit: Limit) -> float | None:
        """Return how often a limit was exceeded."""
        return self.value("mojaloop_exporter_limits_exceeded_total", {"limit": limit.label})

    def failures(self, host: str) -> dict[str, float]:
        """Return the count of each reason, without zeros."""
        return {
            sample.labels["reason"]: sample.value
            for family in self.telemetry.registry.collect()
            if family.name == "mojaloop_exporter_registry_failures"
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["registry"] == host and sample.value
        }


@contextlib.asynccontextmanager
async def client(*entries: RegistryEntry, limits: Limits = PATIENT, **more: Any) -> AsyncIterator[Opened]:
    telemetry = Telemetry()
    async with RegistryClient(entries, telemetry=telemetry, limits=limits, clock=lambda: NOW, **more) as opened:
        yield Opened(opened, telemetry)


async def refused(
    awaitable: Awaitable[object], reason: Reason | None = None, match: str | None = None
) -> RegistryError:
    """Return the error that a lookup fails with."""
    with pytest.raises(RegistryError, match=match) as caught:
        await awaitable
    if reason is not None:
        assert caught.value.reason is reason
    return caught.value


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def tls(folder: Path, name: str = "IP:127.0.0.1") -> ssl.SSLContext:
    """Return a server context with a new self-signed certificate for a name, in `cert.pem`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test",
         "-addext", f"subjectAltName={name}", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


class TokenRegistry:
    """Handler of a registry with a token service on the same server, as in distribution's specification.

    Args:
        wants: the `Authorization` header that the token service requires.
        expires: seconds that a token is valid.
    """

    def __init__(self, *, wants: str = "", expires: int = 300) -> None:
        self.wants, self.expires = wants, expires
        self.challenge = 'Bearer realm="{realm}",service="registry.example",scope="repository:everything:push"'
        self.realm = ""
        self.tokens = 0

    def __call__(self, request: Request) -> bytes:
        if request.path == "/token":
            if request.headers.get("authorization", "") != self.wants and b"refresh_token=" not in request.body:
                return reply(status=401)
            self.tokens += 1
            return reply({"token": f"t{self.tokens}", "expires_in": self.expires})
        if request.headers.get("authorization") == f"Bearer t{self.tokens}" and self.tokens:
            return reply({"tags": ["v1.0.0"]})
        return reply(
            status=401,
            WWW_Authenticate=self.challenge.format(realm=self.realm or f"http://{request.headers['host']}/token"),
        )
