"""Gemma 4's calls: ``<|tool_call>call:get_weather{city:<|"|>Rome<|"|>,days:2}<tool_call|>``."""

from __future__ import annotations

import re
from functools import cached_property

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.formats.format import Call, Sink
from publican.host.answers.formats.marked import MarkedFormat
from publican.host.answers.formats.values import ValueStyle
from publican.host.answers.lark import Lark
from publican.host.answers.literals import parse_literal, skip_literal
from publican.host.answers.marks import Marks
from publican.host.answers.source import Source, Step

_OPEN, _CLOSE, _QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
_VALUES = ValueStyle(":", ",", ":", ("true", "false", "null"), _QUOTE)
_NAME = re.compile(r"[\w.:/-]{1,128}")


class GemmaFormat(MarkedFormat):
    """No text is escaped: its quotes are tokens of their own."""

    def __init__(self) -> None:
        super().__init__("gemma4", (_OPEN,), (_OPEN,), (_CLOSE,))

    @property
    def marks(self) -> tuple[str, ...]:
        return (_OPEN, _CLOSE, _QUOTE)

    @cached_property
    def _behind_name(self) -> Marks:
        return Marks(("{", _CLOSE))

    @cached_property
    def _behind_key(self) -> Marks:
        return Marks((":", "}", _CLOSE))

    def read(self, source: Source, sink: Sink) -> Step[bool]:
        num_calls = 0
        while True:
            before = source.at
            yield from source.skip_space()
            if not (yield from source.one_of(self._opening)) or not (yield from self._read_call(source, sink)):
                source.at = before
                return num_calls > 0
            num_calls += 1
            before = source.at
            yield from source.skip_space()
            if not (yield from source.one_of(self._closing)):
                source.at = before
            source.commit()

    def _read_call(self, source: Source, sink: Sink) -> Step[bool]:
        name, mark = yield from source.until(self._behind_name)
        name = name.strip().removeprefix("call:").strip()
        if mark != "{" or not _NAME.fullmatch(name):
            return False
        sink.begin(name)
        num_values = 0
        while True:
            yield from source.skip_space(",")
            key, mark = yield from source.until(self._behind_key)
            if not mark:
                sink.end()  # it broke off, and is left open, so that nobody takes a part of the call for the whole
                return True
            if mark != ":":
                if mark == _CLOSE:
                    source.at -= len(mark)
                break
            start = source.at
            if not (yield from skip_literal(source, (_QUOTE,), ",}", escapes=False)):
                sink.end()
                return True
            text = source.text[start : source.at].strip()
            sink.arguments(f"{', ' if num_values else '{'}{json_text.dump(key.replace(_QUOTE, '').strip())}: {_as_json(text)}")
            num_values += 1
        sink.arguments("}" if num_values else "{}")
        sink.end()
        return True

    def _written(self, call: Call, index: int) -> str:
        return f"{_OPEN}call:{call.name}{{{_VALUES.arguments(call.arguments)}}}{_CLOSE}"

    def _demanded(self, lark: Lark, tool: Tool) -> str:
        head, arguments = lark.text(f"{_OPEN}call:{tool.name}{{"), _VALUES.demand_arguments(lark, tool)
        return lark.sequence(head, arguments, lark.text("}" + _CLOSE))


def _as_json(text: str) -> str:
    try:
        return json_text.dump(parse_literal(text, (_QUOTE, '"'), escapes=False))
    except ValueError:
        return json_text.dump(text)
