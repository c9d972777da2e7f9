"""`ValueStyle`: values outside of JSON, written and demanded: Python's, and Gemma's with quotes of its own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.lark import Lark
from publican.host.answers.schema import choices_of, max_len_of, parameter_schema, properties, required, required_of, types_of

_INTEGER = r"-?(0|[1-9][0-9]{0,17})"
_PATTERNS = {
    "string": r'"([^"\\\x00-\x1f]|\\[^\x00-\x1f])*"',
    "integer": _INTEGER,
    "number": _INTEGER + r"(\.[0-9]{1,17})?",
}
_SIMPLE = ("string", "integer", "number", "boolean", "null")
_MAX_DEPTH = 4
_AS_JSON = ("string", "integer", "number")
"""What looks the same in JSON, so that its bounds can be kept."""


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
        schemas = {name: parameter_schema(tool, name) for name in properties(tool)}
        return self._members(lark, schemas, required(tool), lambda name: f"{name}{self.assign}", 0)

    def _members(
        self, lark: Lark, schemas: Mapping[str, Any], must: Container[str], head: Callable[[str], str], depth: int
    ) -> str:
        """Names and values, those that must be there first."""
        names = sorted(schemas, key=lambda name: name not in must)
        values = {name: self.demand(lark, schemas[name], depth) for name in names}

        def one(name: str, comma: bool) -> str:
            return lark.sequence(lark.text(f"{self.comma if comma else ''}{head(name)}"), values[name])

        rest, starts = "", []
        for name in reversed(names):  # each from what may follow it, so that the grammar grows as fast as their number
            starts.append(lark.sequence(one(name, comma=False), rest))
            again = one(name, comma=True) if name in must else f"({one(name, comma=True)})?"
            rest = lark.rule(lark.sequence(again, rest))
        if not names or names[0] in must:
            return starts[-1] if starts else ""
        return f"({lark.one_of([lark.rule(start) for start in reversed(starts)])})?"

    def demand(self, lark: Lark, schema: Any, depth: int = 0) -> str:
        if not isinstance(schema, Mapping):
            return self._any(lark)
        if values := choices_of(schema):
            return lark.one_of([lark.rule(lark.text(self.literal(value))) for value in values])
        kinds = types_of(schema)
        if not kinds or depth > _MAX_DEPTH:
            return self._any(lark)
        return lark.one_of([self._of_kind(lark, kind, schema, depth + 1) for kind in sorted(kinds)])

    def _of_kind(self, lark: Lark, kind: str, schema: Mapping[str, Any], depth: int) -> str:
        if kind == "array":
            return self._list(lark, self.demand(lark, schema.get("items"), depth))
        if kind == "string" and self.quote is not None and (most := max_len_of(schema)) is not None:
            return lark.rule(lark.sequence(lark.text(self.quote), lark.up_to(self.quote, most)))
        if kind in _AS_JSON and len(schema) > 1 and (kind != "string" or self.quote is None):
            return lark.json({**schema, "type": kind})
        if kind != "object":
            return self._simple(lark, kind) if kind in _SIMPLE else self._any(lark)
        members = schema.get("properties")
        if not isinstance(members, Mapping) or not members:
            return self._mapping(lark, self._any(lark))
        inside = self._members(lark, members, required_of(schema), self._key, depth)
        return lark.rule(lark.sequence(lark.text("{"), inside, lark.text("}")))

    def _simple(self, lark: Lark, kind: str) -> str:
        """The rule for any value of `kind`, which is one of `_SIMPLE`."""
        if lark.has(kind):
            return kind
        match kind:
            case "string" if self.quote is not None:
                body = lark.sequence(lark.text(self.quote), lark.up_to(self.quote))
            case "boolean":
                body = f"{lark.text(self.words[0])} | {lark.text(self.words[1])}"
            case "null":
                body = lark.text(self.words[2])
            case _:
                body = f"/{_PATTERNS[kind]}/"
        return lark.once(kind, body)

    def _list(self, lark: Lark, item: str) -> str:
        return lark.rule(f'"[" ({item} ({lark.text(self.comma)} {item})*)? "]"')

    def _mapping(self, lark: Lark, value: str) -> str:
        key = self._simple(lark, "string") if self.quote is None else lark.once("key", r"/[A-Za-z_]\w*/")
        pair = lark.rule(f"{key} {lark.text(self.colon)} {value}")
        return lark.rule(f'"{{" ({pair} ({lark.text(self.comma)} {pair})*)? "}}"')

    def _any(self, lark: Lark) -> str:
        """Nested no deeper than models do it: a grammar of any depth would let them nest for ever."""
        if lark.has("any"):
            return "any"
        simple = [self._simple(lark, kind) for kind in _SIMPLE if kind != "integer"]
        value = lark.rule(" | ".join(simple))
        for _ in range(_MAX_DEPTH - 1):
            value = lark.rule(" | ".join((*simple, self._list(lark, value), self._mapping(lark, value))))
        return lark.once("any", value)
