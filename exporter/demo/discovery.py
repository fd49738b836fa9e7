"""API discovery of the stand-in cluster, which kubectl requests first: the kinds and their paths.

OpenAPI is limited to the needs of `kubectl create -f`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from exporter.kinds import Kind

_VERBS = ["create", "delete", "get", "list", "patch", "watch"]
_SHORT = {
    "Pod": "po",
    "Deployment": "deploy",
    "ReplicaSet": "rs",
    "StatefulSet": "sts",
    "DaemonSet": "ds",
    "CronJob": "cj",
    "ReplicationController": "rc",
    "Rollout": "ro",
    "DeploymentConfig": "dc",
}
Document = dict[str, Any]


def discovery_routes(installed: Callable[[], Iterable[Kind]]) -> list[Route]:
    """Return the routes for discovery.

    Args:
        installed: returns the current kinds of the cluster.
    """

    def constant(path: str, document: Document) -> Route:
        return Route(path, lambda _: JSONResponse(document))

    def served(path: str, answer: Callable[[str, list[Kind]], Document]) -> Route:
        async def endpoint(request: Request) -> Response:
            asked = request.path_params
            version = f"{asked['group']}/{asked['version']}" if "group" in asked else asked["version"]
            kinds = [kind for kind in installed() if kind.api_version == version]
            if not kinds:
                raise HTTPException(404)
            return JSONResponse(answer(version, sorted(kinds, key=lambda kind: kind.plural)))

        return Route(path, endpoint)

    return [
        constant("/version", {"major": "1", "minor": "35", "gitVersion": "v1.35.0-standin"}),
        constant("/api", {"kind": "APIVersions", "versions": ["v1"]}),
        Route("/apis", lambda _: JSONResponse(_groups(installed()))),
        Route("/openapi/v3", lambda _: JSONResponse(_openapi_paths(installed()))),
        served("/openapi/v3/api/{version}", _openapi),
        served("/openapi/v3/apis/{group}/{version}", _openapi),
        served("/api/{version}", _resources),
        served("/apis/{group}/{version}", _resources),
    ]


def _groups(kinds: Iterable[Kind]) -> Document:
    groups = []
    for group, version in sorted({(kind.group, kind.version) for kind in kinds if kind.group}):
        served = {"groupVersion": f"{group}/{version}", "version": version}
        groups.append({"name": group, "versions": [served], "preferredVersion": served})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resources(version: str, kinds: list[Kind]) -> Document:
    resources = [
        {
            "name": kind.plural,
            "singularName": kind.name.lower(),
            "namespaced": True,
            "kind": kind.name,
            "shortNames": [_SHORT.get(kind.name, kind.name.lower())],
            "verbs": _VERBS,
        }
        for kind in kinds
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _openapi_paths(kinds: Iterable[Kind]) -> Document:
    paths = {f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}" for kind in kinds}
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in sorted(paths)}}


def _openapi(version: str, kinds: list[Kind]) -> Document:
    """Tell `kubectl create -f` that the server validates fields, so it need not."""
    parameters = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]
    paths = {
        f"{kind.path('{namespace}')}/{{name}}": {
            "patch": {
                "parameters": parameters,
                "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.name},
                "responses": {},
            }
        }
        for kind in kinds
    }
    return {"openapi": "3.0.0", "info": {"title": "stand-in", "version": version}, "paths": paths}
