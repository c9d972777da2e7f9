"""What a tool's JSON schema says of its parameters, as far as reading and demanding calls want to know. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from publican.core.request import Tool

_ANNOTATIONS = frozenset(["title", "description", "examples", "example", "default", "$comment", "$schema", "$id", "deprecated"])
_OF_NAMES = frozenset(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"])
_OF_VALUES = frozenset(["const", "enum"])
_JOINING = frozenset(
    ["allOf", "anyOf", "oneOf", "$ref", "if", "patternProperties", "additionalProperties", "unevaluatedProperties"]
)
_MAX_DEPTH = 64
_MAX_COUNTED = 2_000
_LONGEST_INTEGER = 10**15
_OF_NUMBERS = frozenset(["exclusiveMinimum", "exclusiveMaximum", "multipleOf", "enum", "const"])


def properties(tool: Tool) -> dict[str, Any]:
    """The declared parameters by name, in order."""
    declared = tool.parameters.get("properties")
    return dict(declared) if isinstance(declared, Mapping) else {}


def required(tool: Tool) -> frozenset[str]:
    return required_of(tool.parameters)


def required_of(schema: Mapping[str, Any]) -> frozenset[str]:
    names = schema.get("required")
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list | tuple) else frozenset()


def choices_of(schema: Mapping[str, Any]) -> list[Any]:
    """The only values that there may be; none if `schema` does not name them."""
    if isinstance(values := schema.get("enum"), list | tuple) and values:
        return list(values)
    return [schema["const"]] if "const" in schema else []


def max_len_of(schema: Mapping[str, Any]) -> int | None:
    """How many characters a text may have, where that is said and a grammar can count so far."""
    most = schema.get("maxLength")
    return most if type(most) is int and 0 <= most <= _MAX_COUNTED else None


def types_of(schema: Any, depth: int = 0) -> frozenset[str]:
    """The JSON types that values of `schema` may have; empty if it does not say."""
    if not isinstance(schema, Mapping) or depth > 4:
        return frozenset()
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset([kind])
    if isinstance(kind, list | tuple):
        return frozenset(k for k in kind if isinstance(k, str))
    if "const" in schema:
        return frozenset([_type_name(schema["const"])])
    if isinstance(values := schema.get("enum"), list | tuple):
        return frozenset(map(_type_name, values))
    for join in ("anyOf", "oneOf", "allOf"):
        if isinstance(parts := schema.get(join), list | tuple):
            kinds = [types_of(part, depth + 1) for part in parts]
            return frozenset().union(*kinds) if all(kinds) or join == "allOf" else frozenset()
    return frozenset()


def _type_name(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case None:
            return "null"
        case list() | tuple():
            return "array"
    return "object"


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a call's arguments, without the words that are for people, and closed: what is not declared is not asked
    for, unless the schema says otherwise."""
    schema = plain(tool.parameters)
    schema.setdefault("type", "object")
    if not _JOINING & schema.keys():
        declared = schema.get("properties")
        members: dict[str, Any] = dict(declared) if isinstance(declared, Mapping) else {}
        missing = sorted(required(tool) - members.keys())  # required, but not declared: anything will do
        schema["properties"] = members | {name: {} for name in missing}
        schema["additionalProperties"] = False
    return schema


def parameter_schema(tool: Tool, name: str) -> dict[str, Any]:
    """The schema of one parameter, by itself: with the definitions that it may refer to."""
    declared = properties(tool).get(name)
    if not isinstance(declared, Mapping):
        return {}
    shared = {key: tool.parameters[key] for key in ("$defs", "definitions") if key in tool.parameters}
    return plain({**declared, **shared})


def plain(schema: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A copy of `schema` without annotations, and with an end to whole numbers: a small model writes digits for ever."""
    if depth > _MAX_DEPTH:
        return {}
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _OF_NAMES and isinstance(value, Mapping):
            kept[key] = {name: _plain(item, depth + 1) for name, item in value.items()}
        elif key not in _ANNOTATIONS:
            kept[key] = value if key in _OF_VALUES else _plain(value, depth + 1)
    return kept | _ends_of_digits(kept)


def _ends_of_digits(schema: Mapping[str, Any]) -> dict[str, int]:
    """The bounds that a whole number lacks."""
    if schema.get("type") != "integer" or _OF_NUMBERS & schema.keys():
        return {}
    bounds = {"minimum": -_LONGEST_INTEGER, "maximum": _LONGEST_INTEGER}
    given = [schema[name] for name in bounds if name in schema]
    if not all(isinstance(bound, int | float) and abs(bound) < _LONGEST_INTEGER for bound in given):
        return {}
    return {name: bound for name, bound in bounds.items() if name not in schema}


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return plain(value, depth)
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return value
