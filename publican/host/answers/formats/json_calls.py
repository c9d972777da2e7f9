"""Calls as JSON objects that hold a name and arguments: between marks, or bare at the beginning of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.formats.format import Call, Sink
from publican.host.answers.formats.marked import MarkedFormat
from publican.host.answers.lark import Lark
from publican.host.answers.literals import parse_literal
from publican.host.answers.marks import Marks
from publican.host.answers.schema import arguments_schema
from publican.host.answers.source import Source, Step

_NAMES = ("name", "tool_name", "function", "function_name")
_ARGUMENTS = ("arguments", "parameters", "args", "params")
_OTHERS = ("type", "id", "tool_call_id")
_EXPECTED = (*_NAMES, *_ARGUMENTS, *_OTHERS)


@dataclass(frozen=True, kw_only=True)
class JsonFormat(MarkedFormat):
    """Written, a call is ``head``, its name, ``middle``, its arguments, and ``}``."""

    head: str = '{"name": "'
    middle: str = '", "arguments": '

    def read(self, source: Source, sink: Sink) -> Step[bool]:
        mark = yield from source.one_of(self._opening)
        return (yield from read_json_calls(source, sink, self._closing, careful=not mark))

    def _written(self, call: Call, index: int) -> str:
        return f"{self.head}{_inside(call.name)}{self.middle}{json_text.dump(dict(call.arguments))}}}"

    def _demanded(self, lark: Lark, tool: Tool) -> str:
        head = lark.text(self.head + _inside(tool.name) + self.middle)
        return f'{head} {lark.json(arguments_schema(tool))} "}}"'


def _inside(name: str) -> str:
    """`name` between a JSON string's quotes."""
    return json_text.dump(name)[1:-1]


def read_json_calls(source: Source, sink: Sink, closing: Marks, careful: bool) -> Step[bool]:
    """Read objects, or lists of them, up to a closing mark where there are any; see `CallFormat.read`.

    `careful`: there was no mark, so that it is a call only if it names one of the tools.
    """
    num_calls = num_open = 0
    while True:
        before = source.at
        yield from source.skip_space(",;")
        if (yield from source.one_of(closing)):
            break
        char = yield from source.peek()
        if char == "[" and not num_calls:
            source.at += 1
            num_open += 1
        elif char == "]" and num_open:
            source.at += 1
            num_open -= 1
            if not num_open and not closing.strings:
                break
        elif char == "{":
            if not (yield from _read_object(source, sink, closing, careful)):
                if not num_calls:
                    return not careful and (yield from _salvage(source, sink, closing, before))
                source.at = before
                break
            num_calls += 1
            if not (num_open or closing.strings or careful):
                break
        elif char in ("}", "]") and num_calls and closing.strings:
            source.at += 1  # one bracket too many is a common slip
        else:
            source.at = before
            break
    if num_calls:
        source.commit()
    return num_calls > 0


def _read_object(source: Source, sink: Sink, closing: Marks, careful: bool) -> Step[bool]:
    """Read the object that begins here, as a call. False: it is none, and nothing was committed since."""
    start = source.at
    source.at += 1
    name: str | None = None
    begun = False
    while True:
        yield from source.skip_space(",")
        char = yield from source.peek()
        if char == "}":
            source.at += 1
            return begun or _give_whole(sink, json_text.parse(source.text[start : source.at]), careful)
        key = (yield from read_key(source)) if char == '"' else None
        if key is None:
            break
        char = yield from source.peek()
        if not begun and name is None and key in _NAMES and char == '"':
            name = yield from json_text.read_string(source)
            if name is None or (careful and name not in sink.tools):
                break
        elif not begun and char == "{" and (called := _called(name, key, sink)):
            sink.begin(called)
            begun = True
            whole = yield from json_text.pass_value(source, closing, sink.arguments)
            sink.end()
            if not whole:
                break
        elif (careful and not begun and key not in _EXPECTED) or not (yield from json_text.skip_value(source, closing)):
            break
    if not begun:
        source.at = start
    return begun


def _called(name: str | None, key: str, sink: Sink) -> str | None:
    """Whose arguments the object is that stands under `key`."""
    if name is not None:
        return name if key in _ARGUMENTS else None
    return key if key in sink.tools else None


def read_key(source: Source) -> Step[str | None]:
    """Read an object's key that begins here, up to its value; None if that is not what stands here."""
    key = yield from json_text.read_string(source)
    yield from source.skip_space()
    if key is None or (yield from source.peek()) != ":":
        return None
    source.at += 1
    yield from source.skip_space()
    return key


def _salvage(source: Source, sink: Sink, closing: Marks, start: int) -> Step[bool]:
    """What stands before the closing mark may still be calls, written in another language's way."""
    if not closing.strings:
        return False
    source.at = start
    text, _ = yield from source.until(closing)
    try:
        value = parse_literal(text)
    except ValueError:
        return False
    calls = value if isinstance(value, list) else [value]
    return sum(_give_whole(sink, call, careful=False) for call in calls) > 0


def _give_whole(sink: Sink, value: Any, careful: bool) -> bool:
    """Give `value` to `sink` if it is a call; whether it is."""
    call = _call_of(value, sink)
    if call is None or (careful and call[0] not in sink.tools):
        return False
    sink.begin(call[0])
    sink.arguments(call[1])
    sink.end()
    return True


def _call_of(value: Any, sink: Sink) -> tuple[str, str] | None:
    """The name and the arguments, as JSON text, of a call in whatever shape models give it."""
    if not isinstance(value, dict):
        return None
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    if name is not None:
        arguments = next((value[key] for key in _ARGUMENTS if key in value), None)
        return name, arguments_text(arguments)
    if isinstance(inner := value.get("function"), dict):
        return _call_of(inner, sink)
    if len(value) == 1 and (key := next(iter(value))) in sink.tools:
        return key, arguments_text(value[key])
    return None


def arguments_text(value: Any) -> str:
    """Arguments as JSON text. A text that is itself an object's JSON is taken for that: some models quote twice."""
    if isinstance(value, str) and isinstance(inner := json_text.parse(value), dict):
        return json_text.dump(inner)
    return "{}" if value is None or value == "" else json_text.dump(value)
