"""Calls as Python writes them: ``[get_weather(city="Rome"), roll(sides=6)]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.formats.format import Call, Sink, random_id
from publican.host.answers.formats.values import ValueStyle
from publican.host.answers.lark import Lark
from publican.host.answers.literals import PYTHON_QUOTES, parse_literal, skip_literal
from publican.host.answers.marks import Marks
from publican.host.answers.schema import properties
from publican.host.answers.source import Source, Step

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,127}")
_KEY = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)")
PYTHON = ValueStyle("=", ", ", ": ", ("True", "False", "None"))
PYTHON_WITH_JSON_WORDS = ValueStyle("=", ", ", ": ", ("true", "false", "null"))


@dataclass(frozen=True)
class PythonFormat:
    """Follows `CallFormat`. What is written is ``before``, the calls with ``between`` between them, and ``after``.

    Attributes:
        bare: whether a list of calls may begin an answer without a mark.
        values: how arguments are written.
    """

    name: str
    signs: tuple[str, ...]
    opens: tuple[str, ...]
    closes: tuple[str, ...]
    before: str
    between: str
    after: str
    bare: bool = False
    values: ValueStyle = PYTHON
    call_id: Callable[[str, int], str] = random_id

    @property
    def marks(self) -> tuple[str, ...]:
        return (*self.opens, *self.closes)

    @cached_property
    def _opening(self) -> Marks:
        return Marks(self.opens)

    @cached_property
    def _closing(self) -> Marks:
        return Marks(self.closes)

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

    def write(self, calls: Sequence[Call]) -> str:
        written = (f"{call.name}({self.values.arguments(call.arguments)})" for call in calls)
        return self.before + self.between.join(written) + self.after

    def demand(self, lark: Lark, tools: Sequence[Tool], most: int) -> str:
        calls = lark.several(lark.one_of([self._demand_one(lark, t) for t in tools]), lark.text(self.between), most)
        return lark.sequence(lark.text(self.before), calls, lark.text(self.after))

    def _demand_one(self, lark: Lark, tool: Tool) -> str:
        head = lark.text(f"{tool.name}(")
        return lark.rule(lark.sequence(head, self.values.demand_arguments(lark, tool), lark.text(")")))


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
