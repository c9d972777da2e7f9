"""Calls as Python writes them: ``[get_weather(city="Rome"), roll(sides=6)]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.formats.format import Call, Sink
from publican.host.answers.formats.marked import MarkedFormat
from publican.host.answers.formats.values import ValueStyle
from publican.host.answers.lark import Lark
from publican.host.answers.literals import PYTHON_QUOTES, parse_literal, skip_literal
from publican.host.answers.schema import properties
from publican.host.answers.source import Source, Step

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,127}")
_KEY = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)")
PYTHON = ValueStyle("=", ", ", ": ", ("True", "False", "None"))
PYTHON_WITH_JSON_WORDS = ValueStyle("=", ", ", ": ", ("true", "false", "null"))


@dataclass(frozen=True, kw_only=True)
class PythonFormat(MarkedFormat):
    """`values` is how arguments are written. A bare format is a list of calls without a mark."""

    values: ValueStyle = PYTHON

    def read(self, source: Source, sink: Sink) -> Step[bool]:
        mark = yield from source.one_of(self._opening)
        in_list = False
        num_calls = 0
        while True:
            before = source.at
            yield from source.skip_space(",")
            if (yield from source.one_of(self._closing)):
                break
            char = yield from source.peek()
            if char == "[" and not in_list and not num_calls:
                source.at += 1
                in_list = True
            elif char == "]" and in_list:
                source.at += 1
                in_list = False
                if not self.closes or not mark:
                    break
            elif (mark or in_list) and (yield from self._read_call(source, sink, careful=not mark)):
                num_calls += 1
            else:
                source.at = before
                break
        if num_calls:
            source.commit()
        return num_calls > 0

    def _read_call(self, source: Source, sink: Sink, careful: bool) -> Step[bool]:
        name = yield from _read_name(source)
        if name is None or (careful and name not in sink.tools):
            return False
        sink.begin(name)
        keys = list(properties(sink.tools[name])) if name in sink.tools else []
        num_values = 0
        while True:
            yield from source.skip_space(",")
            start = source.at
            if not (yield from skip_literal(source, PYTHON_QUOTES, ",)")):
                sink.end()  # it broke off, and is left open, so that nobody takes a part of the call for the whole
                return True
            text = source.text[start : source.at].strip()
            if text:
                key, value = _key_and_value(text, keys[num_values : num_values + 1])
                sink.arguments(f"{', ' if num_values else '{'}{json_text.dump(key)}: {value}")
                num_values += 1
            if source.text[source.at] == ")":
                source.at += 1
                sink.arguments("}" if num_values else "{}")
                sink.end()
                return True

    def _written(self, call: Call, index: int) -> str:
        return f"{call.name}({self.values.arguments(call.arguments)})"

    def _demanded(self, lark: Lark, tool: Tool) -> str:
        return lark.sequence(lark.text(f"{tool.name}("), self.values.demand_arguments(lark, tool), lark.text(")"))


def _read_name(source: Source) -> Step[str | None]:
    """Read a name and the bracket behind it; None, and anything read, if that is not what stands here."""
    start = source.at
    while True:
        met = _NAME.match(source.text, start)
        if met is None and start < len(source.text):
            return None
        if met is not None and met.end() < len(source.text):
            if source.text[met.end()] != "(":
                return None
            source.at = met.end() + 1
            return met.group().removesuffix(".call")  # Llama 3.1's built-in tools
        if not (yield from source.more()):
            return None


def _key_and_value(text: str, next_key: list[str]) -> tuple[str, str]:
    """An argument's name, and its value as JSON. One without a name has that of the parameter in its place."""
    met = _KEY.match(text)
    key = met.group(1) if met else next_key[0] if next_key else "value"
    text = text[met.end() :].strip() if met else text
    try:
        return key, json_text.dump(parse_literal(text))
    except ValueError:
        return key, json_text.dump(text)
