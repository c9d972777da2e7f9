"""The OpenAPI document: what each route takes, from its `Body` and from the declarations of the sampling parameters. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from publican import __version__
from publican.apis.dialect import Auth, Route
from publican.core.parameters import Parameter, Wire, wire_names
from publican.core.sampling import SAMPLING_PARAMETERS

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_RESPONSES = {
    "200": {"description": "Answered."},
    "4XX": {"description": "Refused; the body says why, in its dialect's words."},
    "5XX": {"description": "Broken, or too busy."},
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """All `routes` in OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), shared in _by_operation(routes).items():
        paths.setdefault(path, {})[method] = _operation(shared)
    return {
        "openapi": "3.1.0",
        "info": {"title": "publican", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _by_operation(routes: Iterable[Route]) -> dict[tuple[str, str], list[Route]]:
    found: dict[tuple[str, str], list[Route]] = {}
    for route in routes:
        found.setdefault((route.path.replace(":path}", "}"), route.method.lower()), []).append(route)
    return found


def _operation(routes: list[Route]) -> dict[str, Any]:
    """One method of a path, of as many dialects as have it."""
    route = routes[-1]
    operation: dict[str, Any] = {
        "operationId": f"{route.method} {route.path}",
        "tags": [own.dialect.name for own in routes],
        "summary": " / ".join(own.summary for own in routes),
        "responses": _RESPONSES,
    }
    if route.auth in (Auth.KEY, Auth.ADMIN):
        operation["security"] = [{"key": []}]
    names = [part[1:-1].partition(":")[0] for part in route.path.split("/") if part.startswith("{")]
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
        ]
    if route.body is not None:
        bodies = [_body(own) for own in routes]
        schema = bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
        operation["requestBody"] = {"required": not route.bodiless, "content": {"application/json": {"schema": schema}}}
    return operation


def _body(route: Route) -> dict[str, Any]:
    assert route.body is not None
    schema: dict[str, Any] = _inlined(route.body.model_json_schema(), {})
    if route.sampling:
        known = schema.setdefault("properties", {})
        for parameter in SAMPLING_PARAMETERS.values():
            names = wire_names(parameter, route.dialect.name)
            if names:
                known.setdefault(names[0], _parameter(parameter, parameter.wire.get(route.dialect.name, Wire())))
    schema["additionalProperties"] = True
    return schema


def _parameter(parameter: Parameter, wire: Wire) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": parameter.text}
    if parameter.kind in _TYPES:
        schema["type"] = _TYPES[parameter.kind]
    if parameter.kind in (int, float) and not wire.off:
        if not math.isinf(parameter.low):
            schema["exclusiveMinimum" if parameter.low_open else "minimum"] = parameter.low / wire.scale
        if not math.isinf(parameter.high):
            schema["maximum"] = parameter.high / wire.scale
    if wire.default is not None:
        schema["default"] = wire.default
    return schema


def _inlined(value: Any, definitions: dict[str, Any]) -> Any:
    """`value` without ``$defs``: OpenAPI looks for references elsewhere, and ours are small and not recursive."""
    if isinstance(value, list):
        return [_inlined(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    definitions = definitions | value.get("$defs", {})
    if "$ref" in value:
        return _inlined(definitions[value["$ref"].rsplit("/", 1)[-1]], definitions)
    return {key: _inlined(item, definitions) for key, item in value.items() if key != "$defs"}
