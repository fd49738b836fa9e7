"""A stand-in for registries and for Docker Hub's own API, over real HTTP on a loopback port.

One server serves all registries, each under its own path (`/ghcr.io/v2/...`). The `endpoint` of a registry's entry
points there. The server implements the OCI distribution API as the real registries do: pages with `Link`, a Bearer
challenge with a token service for Docker Hub, and manifests and configurations with correct digests. ghcr.io serves
indexes for several platforms, the other registries serve plain manifests.
`/hub/v2/repositories/...` is Docker Hub's API for publish times.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.images import DOCKER_HUB
from exporter.registry import DEFAULT_ENTRIES, RegistryEntry

PAGE_TAGS = 100
_WITH_INDEXES = "ghcr.io"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIGURATION = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True, slots=True)
class Asked:
    """A received request, with header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


class StandInRegistry:
    """Registries with given content.

    Attributes:
        repositories: for each name with registry (`docker.io/mojaloop/central-ledger`), the epoch seconds when each tag
            was published.
        requests: the requests received, in order.
        faults: for each path (`/ghcr.io/v2/mojaloop/vault-utils/tags/list`), an ASGI application that answers instead.
            Every Starlette response is one. An application that never answers makes the request hang.
        app: the ASGI application to serve.
    """

    def __init__(self, repositories: Mapping[str, Mapping[str, float]]) -> None:
        self.repositories = {name: dict(tags) for name, tags in repositories.items()}
        self.requests: list[Asked] = []
        self.faults: dict[str, ASGIApp] = {}
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[str, dict[str, Any]] = {}
        self._tokens: dict[str, str] = {}
        self._routes = Starlette(
            routes=[
                Route("/{registry}/v2/", self._base),
                Route("/{registry}/v2/{name:path}/tags/list", self._tags),
                Route("/{registry}/v2/{name:path}/manifests/{reference}", self._manifest),
                Route("/{registry}/v2/{name:path}/blobs/{digest}", self._blob),
                Route("/{registry}/token", self._token),
                Route("/hub/v2/repositories/{name:path}/tags/{tag}", self._hub),
            ]
        )
        self.app: ASGIApp = self._serve

    def entries(self, address: str) -> tuple[RegistryEntry, ...]:
        """Return the default entries, and one for each other registry of `repositories`; all point to the stand-in.

        Args:
            address: the address of the stand-in, `http://127.0.0.1:PORT`.
        """
        entries = {entry.name: entry for entry in DEFAULT_ENTRIES}
        for name in self.repositories:
            registry = name.partition("/")[0]
            entries.setdefault(registry, RegistryEntry(name=registry))
        return tuple(
            replace(
                entry,
                endpoint=f"{address}/{entry.name}",
                hub_endpoint=f"{address}/hub",
                allow_private=(ip_network("127.0.0.0/8"),),
            )
            if entry.mirror_of is None
            else entry
            for entry in entries.values()
        )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        self.requests.append(Asked(request.method, request.url.path, request.url.query, dict(request.headers)))
        await self.faults.get(request.url.path, self._routes)(scope, receive, send)

    def _refused(self, request: Request) -> Response | None:
        """Return Docker Hub's response to a request without a token for the repository."""
        registry, name = request.path_params["registry"], request.path_params.get("name")
        if registry != DOCKER_HUB:
            return None
        scope = f"repository:{name}:pull"
        if name is not None and request.headers.get("authorization") == f"Bearer {self._tokens.get(scope)}":
            return None
        challenge = f'Bearer realm="{request.base_url}{registry}/token",service="registry.docker.io"'
        if name is not None:
            challenge += f',scope="{scope}"'
        return _error("UNAUTHORIZED", 401, {"WWW-Authenticate": challenge})

    async def _base(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse({})

    def _held(self, request: Request) -> dict[str, float] | None:
        return self.repositories.get(f"{request.path_params['registry']}/{request.path_params['name']}")

    async def _token(self, request: Request) -> Response:
        token = self._tokens.setdefault(request.query_params.get("scope", ""), secrets.token_urlsafe(16))
        return JSONResponse({"token": token, "expires_in": 300})

    async def _tags(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        held = self._held(request)
        if held is None:
            return _error("NAME_UNKNOWN", 404)
        asked = request.query_params.get("n", str(PAGE_TAGS))
        if not asked.isdecimal() or int(asked) == 0:
            return _error("PAGINATION_NUMBER_INVALID", 400)
        size = min(PAGE_TAGS, int(asked))
        names = sorted(name for name in held if name > request.query_params.get("last", ""))
        page, more = names[:size], len(names) > size
        headers = {"Link": f'<{request.url.path}?n={size}&last={page[-1]}>; rel="next"'} if more else {}
        return JSONResponse({"name": request.path_params["name"], "tags": page}, headers=headers)

    async def _manifest(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        reference = request.path_params["reference"]
        published = (self._held(request) or {}).get(reference)
        document = self._manifests.get(reference) if published is None else self._image(request, reference, published)
        if document is None:
            return _error("MANIFEST_UNKNOWN", 404)
        content = _encode(document)
        return Response(content, media_type=document["mediaType"], headers={"Docker-Content-Digest": _digest(content)})

    def _image(self, request: Request, tag: str, published: float) -> dict[str, Any]:
        """Return the manifest, or the index, of a tag."""
        platform = {"os": "linux", "architecture": "amd64"}
        created = {"created": _rfc3339(published), **platform, "config": {"Labels": {"tag": tag}}}
        config = {"mediaType": _CONFIGURATION, **self._keep(created)}
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": []}
        if request.path_params["registry"] != _WITH_INDEXES:
            return manifest
        content = _encode(manifest)
        self._manifests[_digest(content)] = manifest
        one = {"mediaType": _MANIFEST, "digest": _digest(content), "size": len(content), "platform": platform}
        return {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [one]}

    async def _blob(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        content = self._blobs.get(request.path_params["digest"])
        return (
            _error("BLOB_UNKNOWN", 404) if content is None else Response(content, media_type="application/octet-stream")
        )

    async def _hub(self, request: Request) -> Response:
        tag = request.path_params["tag"]
        published = self.repositories.get(f"{DOCKER_HUB}/{request.path_params['name']}", {}).get(tag)
        if published is None:
            return JSONResponse({"message": "httperror 404: object not found", "errinfo": {}}, status_code=404)
        pushed = _rfc3339(published)
        return JSONResponse({"name": tag, "last_updated": pushed, "tag_last_pushed": pushed, "tag_status": "active"})

    def _keep(self, document: dict[str, Any]) -> dict[str, Any]:
        content = _encode(document)
        self._blobs[_digest(content)] = content
        return {"digest": _digest(content), "size": len(content)}


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _error(code: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the format of the distribution specification."""
    return JSONResponse({"errors": [{"code": code, "message": code.lower()}]}, status_code=status, headers=headers)
