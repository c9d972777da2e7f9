"""Calls as a name, a mark, and the arguments as a JSON object."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.formats.format import Call, Sink
from publican.host.answers.formats.marked import MarkedFormat
from publican.host.answers.lark import Lark
from publican.host.answers.marks import Marks
from publican.host.answers.schema import arguments_schema
from publican.host.answers.source import Source, Step

_NAME = re.compile(r"[\w.:/-]{1,128}")
_MAX_PARTS = 4


@dataclass(frozen=True, kw_only=True)
class NamedFormat(MarkedFormat):
    """Written, a call is ``head``, its name, ``middle``, its arguments and ``tail``.

    Attributes:
        opens, name_ends, closes: what is read as the beginning of a call, the end of its name, and its end; several of the
            first and the last may stand side by side. A brace ends a name too, and whatever stands between the name and the
            arguments (an id, the beginning of a fence) is passed over.
        typed: the name comes second, behind the kind of the tool (DeepSeek V3 and R1).
        numbered: names have a colon and their number behind them (Kimi).
        fence: what may stand on both sides of the arguments, besides.
    """

    name_ends: tuple[str, ...]
    head: str
    middle: str
    tail: str = ""
    typed: bool = False
    numbered: bool = False
    fence: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        return (*self.opens, *self.name_ends, *self.closes, *filter(None, (self.fence,)))

    @cached_property
    def _closing(self) -> Marks:
        return Marks((*self.closes, self.fence))

    @cached_property
    def _behind_name(self) -> Marks:
        return Marks((*self.name_ends, *self.closes, "{"))

    def read(self, source: Source, sink: Sink) -> Step[bool]:
        num_calls = 0
        while True:
            before = source.at
            if not (yield from source.run_of(self._opening)) or not (yield from self._read_call(source, sink)):
                source.at = before
                break
            num_calls += 1
            source.commit()
        return num_calls > 0

    def _read_call(self, source: Source, sink: Sink) -> Step[bool]:
        name = yield from self._read_name(source)
        if not _NAME.fullmatch(name):
            return False
        sink.begin(name)
        yield from json_text.pass_value(source, self._closing, sink.arguments)
        sink.end()
        yield from source.run_of(self._closing)
        return True

    def _read_name(self, source: Source) -> Step[str]:
        """Read up to the arguments; empty if none come."""
        parts: list[str] = []
        while len(parts) < _MAX_PARTS:
            part, mark = yield from source.until(self._behind_name)
            if not mark or mark in self.closes:
                return ""
            parts.append(part.strip())
            if mark == "{":
                source.at -= 1
                break
            yield from source.skip_space()
            if (yield from source.peek()) == "{":
                break
        else:
            return ""
        name = parts[1 if self.typed and len(parts) > 1 else 0]
        return re.sub(r":\d+$", "", name).removeprefix("functions.") if self.numbered else name

    def _written(self, call: Call, index: int) -> str:
        number = f":{index}" if self.numbered else ""
        return f"{self.head}{call.name}{number}{self.middle}{json_text.dump(dict(call.arguments))}{self.tail}"

    def _demanded(self, lark: Lark, tool: Tool) -> str:
        number = f"{lark.text(':')} {lark.pattern('[0-9]{1,3}')}" if self.numbered else ""
        head, middle, tail = lark.text(self.head + tool.name), lark.text(self.middle), lark.text(self.tail)
        return lark.sequence(head, number, middle, lark.json(arguments_schema(tool)), tail)
