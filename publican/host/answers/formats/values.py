"""`ValueStyle`: values outside of JSON, written and demanded: Python's, and Gemma's with quotes of its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.lark import Lark
from publican.host.answers.schema import parameter_schema, properties, required, types_of

_INTEGER = r"-?(0|[1-9][0-9]{0,17})"
_NUMBER = _INTEGER + r"(\.[0-9]{1,17})?"
_STRING = r'"([^"\\\x00-\x1f]|\\[^\x00-\x1f])*"'
_MAX_DEPTH = 4


@dataclass(frozen=True)
class ValueStyle:
    """How values are written.

    Attributes:
        assign: between an argument's name and its value.
        comma, colon: between items, and behind a key within an object.
        words: true, false, null.
        quote: a text's quote where it has one of its own, with nothing escaped inside; None is JSON's way.
    """

    assign: str
    comma: str
    colon: str
    words: tuple[str, str, str]
    quote: str | None = None

    # --- writing

    def literal(self, value: Any) -> str:
        match value:
            case None:
                return self.words[2]
            case bool():
                return self.words[0 if value else 1]
            case str():
                return json_text.dump(value) if self.quote is None else f"{self.quote}{value}{self.quote}"
            case Mapping():
                return "{" + self.comma.join(f"{self._key(str(k))}{self.literal(v)}" for k, v in value.items()) + "}"
            case list() | tuple():
                return "[" + self.comma.join(map(self.literal, value)) + "]"
        return json_text.dump(value)

    def _key(self, key: str) -> str:
        return f"{json_text.dump(key) if self.quote is None else key}{self.colon}"

    def arguments(self, arguments: Mapping[str, Any]) -> str:
        return self.comma.join(f"{name}{self.assign}{self.literal(value)}" for name, value in arguments.items())

    # --- demanding

    def demand_arguments(self, lark: Lark, tool: Tool) -> str:
        """An expression for the arguments of a call, required ones first; empty if there are none."""
        must = required(tool)
        names = sorted(properties(tool), key=lambda name: name not in must)
        values = {name: self.demand(lark, parameter_schema(tool, name)) for name in names}

        def one(name: str, comma: bool) -> str:
            return lark.sequence(lark.text(f"{self.comma if comma else ''}{name}{self.assign}"), values[name])

        def rest(names: Sequence[str]) -> list[str]:
            return [one(name, comma=True) if name in must else f"({one(name, comma=True)})?" for name in names]

        if not names or names[0] in must:
            return lark.sequence(*(one(name, comma=False) for name in names[:1]), *rest(names[1:]))
        starts = [lark.rule(lark.sequence(one(n, comma=False), *rest(names[i + 1 :]))) for i, n in enumerate(names)]
        return f"({lark.one_of(starts)})?"

    def demand(self, lark: Lark, schema: Mapping[str, Any], depth: int = 0) -> str:
        values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
        if values:
            return lark.one_of([lark.rule(lark.text(self.literal(value))) for value in values])
        kinds = types_of(schema)
        kind = next(iter(kinds)) if len(kinds) == 1 else ""
        if kind == "array" and depth < _MAX_DEPTH:
            items = schema.get("items")
            return self._list(lark, self.demand(lark, items if isinstance(items, Mapping) else {}, depth + 1))
        return self._simple(lark).get(kind) or self._any(lark)

    def _simple(self, lark: Lark) -> dict[str, str]:
        true, false, null = map(lark.text, self.words)
        text = f"/{_STRING}/" if self.quote is None else lark.sequence(lark.text(self.quote), lark.up_to(self.quote))
        return {
            "string": lark.once("text", text),
            "integer": lark.once("integer", f"/{_INTEGER}/"),
            "number": lark.once("number", f"/{_NUMBER}/"),
            "boolean": lark.once("boolean", f"{true} | {false}"),
            "null": lark.once("null", null),
        }

    def _list(self, lark: Lark, item: str) -> str:
        return lark.rule(f'"[" ({item} ({lark.text(self.comma)} {item})*)? "]"')

    def _any(self, lark: Lark) -> str:
        comma = lark.text(self.comma)
        simple = self._simple(lark)
        key = simple["string"] if self.quote is None else lark.once("key", r"/[A-Za-z_]\w*/")
        pair = lark.once("pair", f"{key} {lark.text(self.colon)} any")
        several = f'"[" (any ({comma} any)*)? "]" | "{{" ({pair} ({comma} {pair})*)? "}}"'
        return lark.once("any", " | ".join((*(simple[kind] for kind in ("string", "number", "boolean", "null")), several)))
