"""JSON schemas as GBNF, for clients that want to see or change the grammar (``/api/extra/json_to_grammar``). Pure.

Whatever fits the schema fits the grammar, with the properties of an object in the schema's order, no others beside them, all
`prefixItems` and no more, and no white space that goes on for ever. The grammar may take more: it says nothing of bounds of
numbers, patterns, unique items and the like, which a grammar says badly or not at all. A request that is to be held to all of
its schema sends the schema itself as its `grammar`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from publican.core.errors import InvalidParameter

MAX_LEN = 200_000
_MAX_TIMES = 1_000
_MAX_DEPTH = 100

_CHARACTER = r'[^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt/] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])'
_WHOLE = '"-"? ("0" | [1-9] [0-9]*)'
_OWN: Mapping[str, str] = {
    "ws": '(" " | "\\n" [ \\t]{0,20})?',
    "char": _CHARACTER,
    "string": '"\\"" char* "\\""',
    "integer": _WHOLE,
    "number": _WHOLE + ' ("." [0-9]+)? ([eE] [-+]? [0-9]+)?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "pair": 'string ws ":" ws value',
    "object": '"{" ws (pair (ws "," ws pair)*)? ws "}"',
    "array": '"[" ws (value (ws "," ws value)*)? ws "]"',
    "value": "object | array | string | number | boolean | null",
}
"""Rules that need no schema, and what else each of them names."""
_TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
_LISTS = ("anyOf", "oneOf")


def gbnf(schema: Mapping[str, Any]) -> str:
    """A grammar whose rule `root` takes what fits `schema`.

    Raises:
        InvalidParameter: it is no schema, or says what this cannot.
    """
    if len(json.dumps(schema)) > MAX_LEN:
        raise _wrong("it is too long; send the schema itself as grammar.")
    writer = _Writer(schema)
    writer.rules["root"] = f"ws {writer.of(schema)} ws"
    return writer.text()


class _Writer:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.rules: dict[str, str] = {}
        self._schema = schema
        self._of_refs: dict[str, str] = {}
        self._len = self._depth = 0

    def text(self) -> str:
        names = ["root", *(name for name in self.rules if name != "root")]
        lines = [f"{name} ::= {self.rules[name]}" for name in names]
        own = list(dict.fromkeys(word for line in lines for word in _named(line)))
        for name in own:  # grows while it is read
            own += [word for word in dict.fromkeys(_named(_OWN[name])) if word not in own]
        return "\n".join([*lines, *(f"{name} ::= {_OWN[name]}" for name in own)]) + "\n"

    def of(self, schema: Any) -> str:
        """What takes a value that fits `schema`: the name of a rule."""
        if self._depth >= _MAX_DEPTH:
            raise _wrong("it goes too deep, or round in a circle.")
        self._depth += 1
        try:
            return self._of(schema)
        finally:
            self._depth -= 1

    def _of(self, schema: Any) -> str:
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, Mapping):
            raise _wrong("every part of it must be an object, or true.")
        if "$ref" in schema:
            return self._referred(schema["$ref"])
        if "const" in schema:
            return self._rule(_literal(schema["const"]))
        if isinstance(choices := schema.get("enum"), list) and choices:
            return self._rule(" | ".join(map(_literal, choices)))
        for key in _LISTS:
            if isinstance(ways := schema.get(key), list) and ways:
                rest = {name: value for name, value in schema.items() if name != key}
                return self._rule(" | ".join(self.of(_both(rest, way)) for way in ways))
        if isinstance(parts := schema.get("allOf"), list) and parts:
            whole: Any = {name: value for name, value in schema.items() if name != "allOf"}
            for part in parts:
                whole = _both(whole, self._target(part["$ref"]) if isinstance(part, Mapping) and "$ref" in part else part)
            return self.of(whole)
        return self._typed(schema, schema.get("type", _guessed(schema)))

    def _typed(self, schema: Mapping[str, Any], kind: Any) -> str:
        if isinstance(kind, list) and kind:
            return self._rule(" | ".join(self._typed(schema, one) for one in kind))
        if kind is None:
            return "value"
        if kind not in _TYPES:
            raise _wrong(f"there is no type {kind!r:.40}.")
        makers = {"object": self._object, "array": self._array, "string": self._string}
        return makers[kind](schema) if kind in makers else str(kind)

    def _referred(self, ref: Any) -> str:
        target = self._target(ref)
        if ref not in self._of_refs:
            self._of_refs[ref] = name = self._name()  # before it is written, for it may name itself
            self.rules[name] = self.of(target)
        return self._of_refs[ref]

    def _target(self, ref: Any) -> Any:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise _wrong(f"$ref {ref!r:.60} leads out of it; put what it means under $defs.")
        found: Any = self._schema
        for part in ref[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise _wrong(f"$ref {ref!r:.60} leads nowhere.")
            found = found[key]
        return found

    # --- kinds of values

    def _object(self, schema: Mapping[str, Any]) -> str:
        """A property that need not be there has two rules to follow: one where a comma must come first."""
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        required = schema.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise _wrong("properties must be an object, and required a list.")
        required = {name for name in required if isinstance(name, str)}
        if not properties:
            is_open = others in (True, {}) or "patternProperties" in schema
            return "object" if is_open else self._rule(self._map(others))
        pairs = [(self._pair(name, value), name in required) for name, value in properties.items()]
        first = after = ""
        for at, (pair, wanted) in reversed(list(enumerate(pairs))):
            begins = f"{pair} {after}".rstrip()
            first = self._rule(begins if wanted else f"{begins} | {first}" if first else f"({begins})?")
            if at:
                after = self._rule((f'ws "," ws {pair} {after}' if wanted else f'(ws "," ws {pair})? {after}').rstrip())
        return self._rule(f'"{{" ws {first} ws "}}"')

    def _pair(self, name: str, schema: Any) -> str:
        return self._rule(f'{_literal(name)} ws ":" ws {self.of(schema)}')

    def _map(self, values: Any) -> str:
        if values is False:
            return '"{" ws "}"'
        pair = self._rule(f'string ws ":" ws {self.of(values)}')
        return f'"{{" ws ({pair} (ws "," ws {pair})*)? ws "}}"'

    def _array(self, schema: Mapping[str, Any]) -> str:
        if isinstance(items := schema.get("prefixItems"), list) and items:
            listed = ' ws "," ws '.join(self.of(item) for item in items)
            return self._rule(f'"[" ws {listed} ws "]"')
        least, most = _bounds(schema, "Items")
        item = self.of(schema.get("items", True))
        if most == 0:
            return self._rule('"[" ws "]"')
        more = f'(ws "," ws {item}){_times(max(0, least - 1), None if most is None else most - 1)}'
        return self._rule(f'"[" ws {item} {more} ws "]"' if least else f'"[" ws ({item} {more})? ws "]"')

    def _string(self, schema: Mapping[str, Any]) -> str:
        least, most = _bounds(schema, "Length")
        return "string" if (least, most) == (0, None) else self._rule(f'"\\"" char{_times(least, most)} "\\""')

    # --- rules

    def _rule(self, body: str) -> str:
        name = self._name()
        self.rules[name] = body
        self._len += len(body)
        if self._len > MAX_LEN:
            raise _wrong("its grammar would be too long; send the schema itself as grammar.")
        return name

    def _name(self) -> str:
        name = f"r{len(self.rules)}"
        self.rules[name] = ""
        return name


def _both(one: Mapping[str, Any], other: Any) -> dict[str, Any]:
    """A schema that says what both say; of properties and what is required, everything."""
    if other is True:
        return dict(one)
    if not isinstance(other, Mapping):
        raise _wrong("every part of it must be an object, or true.")
    both = {**one, **other}
    first, second = one.get("properties"), other.get("properties")
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        both["properties"] = {**first, **second}
    ours, theirs = one.get("required"), other.get("required")
    if isinstance(ours, list) and isinstance(theirs, list):
        both["required"] = list(dict.fromkeys(name for name in (*ours, *theirs) if isinstance(name, str)))
    return both


def _guessed(schema: Mapping[str, Any]) -> str | None:
    """The type that the other words are about, where it is not said."""
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "string" if "minLength" in schema or "maxLength" in schema else None


def _bounds(schema: Mapping[str, Any], of_what: str) -> tuple[int, int | None]:
    least, most = schema.get(f"min{of_what}", 0), schema.get(f"max{of_what}")
    for bound in (least, *([] if most is None else [most])):
        if type(bound) is not int or not 0 <= bound <= _MAX_TIMES:
            raise _wrong(f"min{of_what} and max{of_what} must be whole numbers from 0 to {_MAX_TIMES:,}.")
    if most is not None and least > most:
        raise _wrong(f"min{of_what} is more than max{of_what}.")
    return least, most


def _times(least: int, most: int | None) -> str:
    if (least, most) == (0, None):
        return "*"
    return f"{{{least},{'' if most is None else most}}}"


def _literal(value: Any) -> str:
    """JSON text as GBNF quotes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]')


def _named(line: str) -> Sequence[str]:
    """The rules of ours that `line` names."""
    body = line.partition("::=")[2] or line
    return [word for word in re.findall(r"[a-z]+\b", _QUOTED.sub(" ", body)) if word in _OWN]


def _wrong(text: str) -> InvalidParameter:
    return InvalidParameter("schema", text)
