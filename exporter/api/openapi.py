"""The OpenAPI 3.1 document, rendered from the declarations that the dispatcher follows.

Its schemas come from the structs that encode responses, so the schema of findings is also that of
`check --output json` (docs/findings.schema.json).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from exporter import __version__
from exporter.api.declare import Operation, Parameter
from exporter.api.problems import MEDIA, METHOD_NOT_ALLOWED, UNAUTHORIZED, Kind, Problem

_REFERENCE = "#/components/schemas/{name}"
_HEADERS = {
    "ETag": {
        "description": "ETag for `If-None-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^(W/)?"[^"]+"$'},
    },
    "Cache-Control": {"required": True, "schema": {"type": "string", "const": "no-cache"}},
}
_ALLOW = {"Allow": {"required": True, "schema": {"type": "string", "const": "GET, HEAD, OPTIONS"}}}
# Headers of problems by status.
_OF_STATUS = {
    401: {"WWW-Authenticate": {"description": "RFC 6750.", "required": True, "schema": {"type": "string"}}},
    405: _ALLOW,
    503: {"Retry-After": {"description": "In seconds.", "required": True, "schema": {"type": "integer"}}},
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document about these operations."""
    answers: list[type[Any]] = [operation.answer for operation in operations if operation.answer is not None]
    schemas, components = msgspec.json.schema_components([*answers, Problem], ref_template=_REFERENCE)
    schema_of: dict[type[Any], dict[str, Any]] = dict(zip([*answers, Problem], schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mojaloop image patch exporter",
            "version": __version__,
            "description": "Which images miss a patch. The API serves known state and never contacts a registry.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {operation.path: _path(operation, schema_of) for operation in operations},
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token in the file of the key `api.token_file`. Without that key, the API needs "
                    "no token.",
                }
            },
        },
    }


def _path(operation: Operation, schemas: dict[type[Any], dict[str, Any]]) -> dict[str, Any]:
    kinds = [*operation.problems, METHOD_NOT_ALLOWED, *(() if operation.public else (UNAUTHORIZED,))]
    responses: dict[str, Any] = {
        "200": {
            "description": operation.summary,
            "headers": _HEADERS,
            "content": {
                "application/json": {
                    "schema": {"type": "object"} if operation.answer is None else schemas[operation.answer]
                }
            },
        },
        "304": {"description": "The client's copy is current.", "headers": _HEADERS},
        "413": {"description": "The request has a body.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    }
    for status in sorted({kind.status for kind in kinds}):
        responses[str(status)] = _problem(status, kinds, schemas[Problem])
    shared: dict[str, Any] = {"security": [{}] if operation.public else [{}, {"token": []}]}
    without_body = {
        status: {key: value for key, value in answer.items() if key != "content"}
        for status, answer in responses.items()
    }
    refused = {status: answer for status, answer in responses.items() if status in ("401", "413")}
    return {
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "get": {
            "operationId": operation.name,
            "summary": operation.summary,
            "description": operation.description,
            **shared,
            "responses": responses,
        },
        "head": {
            "operationId": f"{operation.name}Headers",
            "summary": f"{operation.summary}: headers only",
            **shared,
            "responses": without_body,
        },
        "options": {
            "operationId": f"{operation.name}Options",
            "summary": "The allowed methods",
            **shared,
            "responses": {"204": {"description": "See the header Allow.", "headers": _ALLOW}, **refused},
        },
    }


def _problem(status: int, kinds: Sequence[Kind], schema: dict[str, Any]) -> dict[str, Any]:
    found = [kind for kind in kinds if kind.status == status]
    answer: dict[str, Any] = {
        "description": "; ".join(f"{kind.title} (`{kind.name}`)" for kind in found) + ".",
        "content": {
            MEDIA: {
                "schema": {
                    "allOf": [schema],
                    "properties": {"type": {"enum": [kind.type for kind in found]}, "status": {"const": status}},
                }
            }
        },
    }
    if status in _OF_STATUS:
        answer["headers"] = _OF_STATUS[status]
    return answer


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.required,
        "schema": dict(parameter.schema),
        "example": parameter.example,
    }
