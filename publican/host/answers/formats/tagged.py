"""Calls as tags with a tag for each argument, the values as plain text: Qwen3-Coder's way, and its many relatives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.formats.format import Call, Sink
from publican.host.answers.formats.marked import MarkedFormat
from publican.host.answers.lark import Lark
from publican.host.answers.literals import parse_literal
from publican.host.answers.marks import Marks
from publican.host.answers.schema import choices_of, max_len_of, parameter_schema, properties, required, types_of
from publican.host.answers.source import Source, Step

_NAME = re.compile(r"[\w.:/-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class TaggedFormat(MarkedFormat):
    """Written, a call is

        call_open NAME name_end (key_open KEY key_end VALUE value_end)* call_close

    Attributes:
        sections: marks that may stand around calls; read over.
        typed_keys: what is written behind a key says whether the value is text (DeepSeek V3.2): the text's way, and the other.
    """

    sections: tuple[str, ...]
    call_open: str
    name_end: str
    key_open: str
    key_end: str
    value_end: str
    call_close: str
    typed_keys: tuple[str, str] | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        written = (self.call_open, self.name_end, self.key_open, self.key_end, self.value_end, self.call_close)
        return tuple(dict.fromkeys(filter(None, (*self.opens, *self.sections, *map(str.strip, written)))))

    # --- reading

    @cached_property
    def _sections(self) -> Marks:
        return Marks(self.sections)

    @cached_property
    def _calling(self) -> Marks:
        return Marks((self.call_open,))

    @cached_property
    def _behind_name(self) -> Marks:
        return Marks(dict.fromkeys((self.name_end.rstrip() or "\n", self.key_open.strip(), self.call_close.strip())))

    @cached_property
    def _in_call(self) -> Marks:
        return Marks((self.key_open.strip(), self.call_close.strip()))

    @cached_property
    def _behind_key(self) -> Marks:
        return Marks((self.key_end.strip().rsplit("\n", 1)[-1],))

    @cached_property
    def _behind_value(self) -> Marks:
        """The first two are for models that forget to end a value."""
        forgotten = "\n" + self.key_open.strip(), "\n" + self.call_close.strip()
        return Marks((*forgotten, *self._value_ends.strings))

    @cached_property
    def _value_ends(self) -> Marks:
        end = self.value_end.strip()
        return Marks((end, *(["\n" + end] if self.value_end.startswith("\n") else [])))

    def read(self, source: Source, sink: Sink) -> Step[bool]:
        num_calls = 0
        while True:
            yield from source.run_of(self._sections)
            end = source.at
            yield from source.skip_space()
            if not (yield from source.one_of(self._calling)) or not (yield from self._read_call(source, sink)):
                source.at = end
                break
            num_calls += 1
        if num_calls:
            source.commit()
        return num_calls > 0

    def _read_call(self, source: Source, sink: Sink) -> Step[bool]:
        name, mark = yield from source.until(self._behind_name)
        name = name.strip().strip("\"'")
        if not mark or not _NAME.fullmatch(name):
            return False
        if mark in self._in_call.strings:
            source.at -= len(mark)
        sink.begin(name)
        tool = sink.tools.get(name)
        num_keys = 0
        while True:
            yield from source.skip_space()
            mark = yield from source.one_of(self._in_call)
            if mark != self.key_open.strip():
                break
            key, mark = yield from source.until(self._behind_key)
            if not mark:
                break
            key, is_text = self._key(key, tool)
            sink.arguments(f"{', ' if num_keys else '{'}{json_text.dump(key)}: ")
            mark = yield from self._pass_value(source, sink, is_text)
            if not mark:
                break
            num_keys += 1
        if mark or ((yield from source.peek()) and not self._in_call.may_begin(source.text, source.at)):
            sink.arguments("}" if num_keys else "{}")
        sink.end()  # else it broke off, and is left open, so that nobody takes a part of it for the whole
        return True

    def _key(self, text: str, tool: Tool | None) -> tuple[str, bool | None]:
        """A key, and whether its value is text; None if nobody knows."""
        text = text.strip()
        for is_text, way in zip((True, False), self.typed_keys or (), strict=False):
            if text.endswith(way.strip()):
                return text.removesuffix(way.strip()).strip().strip("\"'"), is_text
        key = text.split("</")[0].strip().strip("\"'")
        if tool is None or key not in properties(tool):
            return key, None
        kinds = types_of(properties(tool)[key])
        return key, True if kinds == {"string"} else None if not kinds or "string" in kinds else False

    def _pass_value(self, source: Source, sink: Sink, is_text: bool | None) -> Step[str]:
        """Read a value and its end, which is empty if it broke off."""
        if self.key_end.endswith("\n") and (yield from source.peek()) == "\n":
            source.at += 1
        ends = self._value_ends if sink.strict else self._behind_value
        if is_text:
            sink.arguments('"')
            mark = yield from source.pass_until(ends, lambda text: sink.arguments(json_text.dump(text)[1:-1]))
            self._leave_forgotten(source, mark)
            sink.arguments('"' if mark else "")
        else:
            value, mark = yield from source.until(ends)
            self._leave_forgotten(source, mark)
            sink.arguments(_as_json(value, is_text) if mark else "")
        return mark

    def _leave_forgotten(self, source: Source, mark: str) -> None:
        """A value that was not ended is followed by what comes next: give that back, all but the line end before it."""
        if mark in self._behind_value.strings[:2]:
            source.at -= len(mark) - 1

    # --- writing

    def _written(self, call: Call, index: int) -> str:
        values = (
            f"{self._key_head(key, isinstance(value, str))}{value if isinstance(value, str) else json_text.dump(value)}"
            f"{self.value_end}"
            for key, value in call.arguments.items()
        )
        return f"{self.call_open}{call.name}{self.name_end}{''.join(values)}{self.call_close}"

    def _key_head(self, key: str, is_text: bool) -> str:
        way = self.typed_keys[0 if is_text else 1] if self.typed_keys else ""
        return f"{self.key_open}{key}{way}{self.key_end}"

    def _demanded(self, lark: Lark, tool: Tool) -> str:
        must = required(tool)
        values = [
            value if key in must else f"({value})?"
            for key in properties(tool)
            if (value := self._demand_value(lark, key, parameter_schema(tool, key)))
        ]
        head = lark.text(self.call_open + tool.name + self.name_end)
        return lark.sequence(head, *values, lark.text(self.call_close))

    def _demand_value(self, lark: Lark, key: str, schema: Mapping[str, Any]) -> str:
        kinds = types_of(schema)
        is_text = not kinds or "string" in kinds
        head = lark.text(self._key_head(key, is_text))
        if not is_text:
            return lark.rule(lark.sequence(head, lark.json(schema), lark.text(self.value_end)))
        choices = [choice for choice in choices_of(schema) if isinstance(choice, str)]
        if choices:
            body = lark.sequence(lark.one_of([lark.rule(lark.text(c) or '""') for c in choices]), lark.text(self.value_end))
        else:
            body = lark.up_to(self.value_end, max_len_of(schema))
        return lark.rule(lark.sequence(head, body))


def _as_json(text: str, is_text: bool | None) -> str:
    """A value that is not plain text, or need not be: as JSON if it is some, else as the text that it is."""
    for read in (json_text.parse, parse_literal):
        try:
            value = read(text.strip())
        except ValueError:
            continue
        if value is None and text.strip() not in ("null", "None"):
            continue
        if is_text is None and not (value is None or isinstance(value, dict | list)):
            return json_text.dump(text)
        return json_text.dump(value)
    return json_text.dump(text)
