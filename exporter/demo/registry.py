"""A stand-in for registries and for Docker Hub's own API, over real HTTP on a loopback port.

One server stands for all registries, each under a path of its own (`/ghcr.io/v2/...`), which is what `endpoint` in a registry's entry is
for. It speaks the OCI distribution API as the real ones do: pages with `Link`, a Bearer challenge with a token service at Docker Hub,
manifests and configurations whose digests are right. `/hub/v2/repositories/...` is Docker Hub's API for publish times.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from exporter.images import DOCKER_HUB
from exporter.registry import Api, RegistryPolicy

PAGE_TAGS = 100
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIGURATION = "application/vnd.oci.image.config.v1+json"


class StandInRegistry:
    """Registries that hold what they are told.

    Attributes:
        repositories: by name with registry (`docker.io/mojaloop/central-ledger`), the epoch seconds when each tag was published.
        requests: the paths that were asked for, in their order.
    """

    def __init__(self, repositories: Mapping[str, Mapping[str, float]]) -> None:
        self.repositories = {name: dict(tags) for name, tags in repositories.items()}
        self.requests: list[str] = []
        self._blobs: dict[str, bytes] = {}
        self._tokens: dict[str, str] = {}
        self.app = Starlette(
            routes=[
                Route("/{registry}/v2/{name:path}/tags/list", self._tags),
                Route("/{registry}/v2/{name:path}/manifests/{reference}", self._manifest),
                Route("/{registry}/v2/{name:path}/blobs/{digest}", self._blob),
                Route("/{registry}/token", self._token),
                Route("/hub/v2/repositories/{name:path}/tags/{tag}", self._hub),
            ]
        )

    def policies(self, address: str) -> tuple[RegistryPolicy, ...]:
        """The entries that lead to the stand-in, for each registry that it holds something of.

        Args:
            address: where it answers, `http://127.0.0.1:PORT`.
        """
        return tuple(
            RegistryPolicy(
                name=registry,
                endpoint=f"{address}/{registry}",
                allow_private=(ip_network("127.0.0.0/8"),),
                api=Api.DOCKERHUB if registry == DOCKER_HUB else Api.OCI,
                hub_endpoint=f"{address}/hub",
            )
            for registry in sorted({name.partition("/")[0] for name in self.repositories})
        )

    def _refused(self, request: Request) -> Response | None:
        """Docker Hub's answer to a request without a token for the repository."""
        self.requests.append(request.url.path)
        registry, name = request.path_params["registry"], request.path_params["name"]
        if registry != DOCKER_HUB:
            return None
        scope = f"repository:{name}:pull"
        if request.headers.get("authorization") == f"Bearer {self._tokens.get(scope)}":
            return None
        challenge = f'Bearer realm="{request.base_url}{registry}/token",service="registry.docker.io",scope="{scope}"'
        return _error("UNAUTHORIZED", 401, {"WWW-Authenticate": challenge})

    def _held(self, request: Request) -> dict[str, float] | None:
        return self.repositories.get(f"{request.path_params['registry']}/{request.path_params['name']}")

    async def _token(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        token = self._tokens.setdefault(request.query_params.get("scope", ""), secrets.token_urlsafe(16))
        return JSONResponse({"token": token, "expires_in": 300})

    async def _tags(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        held = self._held(request)
        if held is None:
            return _error("NAME_UNKNOWN", 404)
        size = min(PAGE_TAGS, int(request.query_params.get("n", PAGE_TAGS)))
        names = sorted(name for name in held if name > request.query_params.get("last", ""))
        page, more = names[:size], len(names) > size
        headers = {"Link": f'<{request.url.path}?n={size}&last={page[-1]}>; rel="next"'} if more else {}
        return JSONResponse({"name": request.path_params["name"], "tags": page}, headers=headers)

    async def _manifest(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        tag = request.path_params["reference"]
        published = (self._held(request) or {}).get(tag)
        if published is None:
            return _error("MANIFEST_UNKNOWN", 404)
        created = {
            "created": _rfc3339(published),
            "os": "linux",
            "architecture": "amd64",
            "config": {"Labels": {"tag": tag}},
        }
        config = {"mediaType": _CONFIGURATION, **self._keep(created)}
        document = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": []}
        return Response(json.dumps(document), media_type=_MANIFEST)

    async def _blob(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        content = self._blobs.get(request.path_params["digest"])
        return (
            _error("BLOB_UNKNOWN", 404) if content is None else Response(content, media_type="application/octet-stream")
        )

    async def _hub(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        tag = request.path_params["tag"]
        published = self.repositories.get(f"{DOCKER_HUB}/{request.path_params['name']}", {}).get(tag)
        if published is None:
            return JSONResponse({"message": "httperror 404: object not found", "errinfo": {}}, status_code=404)
        pushed = _rfc3339(published)
        return JSONResponse({"name": tag, "last_updated": pushed, "tag_last_pushed": pushed, "tag_status": "active"})

    def _keep(self, document: dict[str, Any]) -> dict[str, Any]:
        content = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._blobs[digest] = content
        return {"digest": digest, "size": len(content)}


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _error(code: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An error as the distribution specification has it."""
    return JSONResponse({"errors": [{"code": code, "message": code.lower()}]}, status_code=status, headers=headers)
