"""Every request that the patcher sends to the API server.

Each request has its own time limit. A request without an answer may still have been carried out, so the caller reads
the object again before it decides what to do.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from exporter.cluster.connection import ApiError
from exporter.cluster.decode import MalformedError, decode_message, decode_page
from exporter.kinds import Kind
from exporter.patcher.approvals import GROUP, PLURAL, VERSION, Approval, Status, decode, encode_status
from exporter.patcher.objects import Pod, decode_pod
from exporter.patcher.patch import FIELD_MANAGER, Operations

_log = logging.getLogger(__name__)

# The annotation of a namespace that stops patching there. Every value but "true" stops it: whoever sets it is in a
# hurry.
SWITCH = f"{GROUP}/patching"
CALL_SECONDS = 10.0
_PAGE = "500"
_JSON_PATCH = "application/json-patch+json"


class Transport(Protocol):
    """How requests are sent: `cluster.Connection`."""

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        media: str = "application/json",
        params: Mapping[str, str] | None = None,
        seconds: float = CALL_SECONDS,
    ) -> bytes:
        """One request and its complete answer."""


class _NamespaceMetadata(msgspec.Struct, frozen=True):
    annotations: dict[str, str] | None = None


class _Namespace(msgspec.Struct, frozen=True):
    metadata: _NamespaceMetadata


_decode_namespace = msgspec.json.Decoder(_Namespace).decode


class Api:
    """The patcher's requests.

    Args:
        transport: sends them.
        namespaces: list approvals in each of these; if empty, in the entire cluster.
        seconds: the time limit of each request.
    """

    def __init__(self, transport: Transport, *, namespaces: Sequence[str] = (), seconds: float = CALL_SECONDS) -> None:
        self._transport = transport
        self._namespaces = tuple(namespaces)
        self._seconds = seconds
        # Namespaces and approvals for which a warning was logged.
        self._warned: set[str] = set()

    async def approvals(self) -> list[Approval]:
        """Every approval that can be read, as it is now and not from a cache.

        Raises:
            ApiError: the server refused. With several namespaces: in all of them.
            UnreachableError: there was no answer.
        """
        found: list[Approval] = []
        failures: list[ApiError] = []
        for namespace in self._namespaces or ("",):
            try:
                async for raw in self._list(_approvals(namespace)):
                    found += self._read(raw)
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                failures.append(error)
                self._warn(namespace, "cannot list approvals in namespace %s: %s", namespace or "*", error)
            else:
                self._warned.discard(namespace)
        if failures and len(failures) == len(self._namespaces or ("",)):
            raise failures[0]
        return found

    async def workload(self, kind: Kind, namespace: str, name: str) -> bytes | None:
        """A workload as JSON; None if it does not exist."""
        return await self._get(f"{kind.path(namespace)}/{name}")

    async def pods(self, namespace: str, selector: str) -> list[Pod]:
        """The pods that a selector matches."""
        return [decode_pod(raw) async for raw in self._list(f"/api/v1/namespaces/{namespace}/pods", selector=selector)]

    async def is_stopped(self, namespace: str) -> bool:
        """Whether an annotation of the namespace stops patching."""
        body = await self._get(f"/api/v1/namespaces/{namespace}")
        annotations = _decode_namespace(body).metadata.annotations if body is not None else None
        return (annotations or {}).get(SWITCH, "true").lower() != "true"

    async def write_status(self, approval: Approval, status: Status) -> Approval:
        """Replace the status, if nobody has changed the approval since it was read.

        Raises:
            ApiError: 409 if somebody has, 404 if it is gone.
        """
        operations = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": approval.metadata.resource_version},
            {"op": "add", "path": "/status", "value": encode_status(status)},
        ]
        path = f"{_approvals(approval.metadata.namespace)}/{approval.metadata.name}/status"
        return decode(await self._patch(path, operations))

    async def patch(
        self, kind: Kind, namespace: str, name: str, operations: Operations, *, dry_run: bool = False
    ) -> None:
        """Patch a workload.

        Raises:
            ApiError: 409 if it has changed since it was read, 422 if an image is not what was approved.
        """
        await self._patch(f"{kind.path(namespace)}/{name}", operations, dry_run=dry_run)

    async def evict(self, namespace: str, pod: Pod) -> None:
        """Evict exactly this pod, and not a newer one of the same name.

        Raises:
            ApiError: 429 if a PodDisruptionBudget does not allow it.
        """
        name = pod.metadata.name
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": pod.metadata.uid}},
        }
        await self._send("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", eviction)

    async def create_event(self, namespace: str, event: Any) -> None:
        """Create an Event, unless one of the same name exists."""
        try:
            await self._send("POST", f"/api/v1/namespaces/{namespace}/events", event)
        except ApiError as error:
            if error.status != 409:
                raise

    async def _get(self, path: str) -> bytes | None:
        try:
            return await self._transport.call("GET", path, seconds=self._seconds)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    async def _patch(self, path: str, operations: Sequence[Any], *, dry_run: bool = False) -> bytes:
        params = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})}
        return await self._send("PATCH", path, operations, media=_JSON_PATCH, params=params)

    async def _send(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        media: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        return await self._transport.call(
            method, path, body=msgspec.json.encode(body), media=media, params=params, seconds=self._seconds
        )

    async def _list(self, path: str, *, selector: str = "") -> AsyncIterator[msgspec.Raw]:
        """The objects of a list, page by page, without decoding them."""
        params = {"limit": _PAGE, **({"labelSelector": selector} if selector else {})}
        while True:
            body = await self._transport.call("GET", path, params=params, seconds=self._seconds)
            page = await decode_message(decode_page, body)
            for raw in page.items or ():
                yield raw
            if not page.metadata.continue_:
                return
            params = {**params, "continue": page.metadata.continue_}

    def _read(self, raw: msgspec.Raw) -> list[Approval]:
        try:
            return [decode(bytes(raw))]
        except MalformedError as error:
            self._warn(str(error), "ignoring an approval: %s", error)
            return []

    def _warn(self, key: str, message: str, *values: Any) -> None:
        level = logging.DEBUG if key in self._warned else logging.WARNING
        self._warned.add(key)
        _log.log(level, message, *values)


def _approvals(namespace: str) -> str:
    root = f"/apis/{GROUP}/{VERSION}"
    return f"{root}/namespaces/{namespace}/{PLURAL}" if namespace else f"{root}/{PLURAL}"
