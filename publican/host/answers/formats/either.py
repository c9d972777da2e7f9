"""`Either`: several formats that share a mark, tried one after the other. Models stray between relatives."""

from __future__ import annotations

from collections.abc import Sequence

from publican.core.request import Tool
from publican.host.answers.formats.format import Call, CallFormat, Sink
from publican.host.answers.lark import Lark
from publican.host.answers.source import Source, Step


class Either:
    """Follows `CallFormat`: reads as the first of `formats` that finds calls, writes as the first."""

    def __init__(self, *formats: CallFormat) -> None:
        self._formats = formats
        self.first = formats[0]
        self.name = self.first.name
        self.signs = self.first.signs
        self.opens = tuple(dict.fromkeys(mark for each in formats for mark in each.opens))
        self.marks = tuple(dict.fromkeys(mark for each in formats for mark in each.marks))
        self.bare = any(each.bare for each in formats)

    def read(self, source: Source, sink: Sink) -> Step[bool]:
        for each in self._formats:
            if (yield from each.read(source, sink)):
                return True
            source.at = 0  # nothing was committed
        return False

    def write(self, calls: Sequence[Call]) -> str:
        return self.first.write(calls)

    def demand(self, lark: Lark, tools: Sequence[Tool], most: int) -> str:
        return self.first.demand(lark, tools, most)

    def call_id(self, name: str, index: int) -> str:
        return self.first.call_id(name, index)
