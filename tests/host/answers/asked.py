"""Tools to offer, calls to make of them, and answers read at every cut."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from publican.core.events import Delta, ToolCallDelta
from publican.core.request import Tool
from publican.host.answers.answer import Answer, Part
from publican.host.answers.formats.format import Call, CallFormat
from publican.host.answers.formats.table import CHANNELS
from publican.host.answers.reading import Reading

WEATHER = Tool(
    "get_weather",
    "Tells the weather.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where"},
            "days": {"type": "integer"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "hours": {"type": "array", "items": {"type": "integer"}},
            "exact": {"type": "boolean"},
        },
        "required": ["city"],
    },
)
ROLL = Tool("roll", "Rolls a die.", {"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]})
NOW = Tool("now", "Tells the time.", {})
NOTE = Tool(
    "note",
    "Keeps a note.",
    {
        "type": "object",
        "properties": {
            "about": {"type": "object", "properties": {"who": {"type": "string"}, "age": {"type": ["integer", "null"]}}},
            "text": {"type": "string"},
        },
        "required": ["text"],
    },
)
TOOLS = {tool.name: tool for tool in (WEATHER, ROLL, NOW, NOTE)}
CALLS = (
    Call("get_weather", {"city": "Zürich"}),
    Call("roll", {"sides": 20}),
    Call("get_weather", {"city": "São \"P'aulo", "days": 3, "unit": "celsius", "hours": [1, 2], "exact": True}),
    Call("note", {"about": {"who": "Ann, [b] {c}", "age": None}, "text": "one\ntwo: <b> = \\ 'x' 天気"}),
    Call("now", {}),
)


@dataclass
class Read:
    """What an answer said, put together."""

    text: str = ""
    reasoning: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    """Of each call its name, its arguments and its id."""

    def add(self, part: Part) -> None:
        if isinstance(part, Delta):
            assert bool(part.text) != bool(part.reasoning)
            self.text += part.text
            self.reasoning += part.reasoning
            return
        assert isinstance(part, ToolCallDelta)
        assert bool(part.id) == bool(part.name) == (part.call not in self.calls)
        call = self.calls.setdefault(part.call, [part.name, "", part.id])
        call[1] += part.arguments

    @property
    def parsed(self) -> list[Call]:
        return [Call(name, json.loads(arguments)) for name, arguments, _ in self.calls.values()]

    @property
    def plain(self) -> tuple[Any, ...]:
        """Without the ids, which are new each time."""
        return self.text, self.reasoning, [call[:2] for call in self.calls.values()]


def read(reading: Reading, pieces: Iterable[str], cut: bool = False) -> Read:
    answer, found = Answer(0, reading), Read()
    fed = 0
    for piece in pieces:
        fed += len(piece)
        for part in answer.feed(piece):
            found.add(part)
        assert answer.num_committed <= fed
    for part in answer.finish(cut):
        found.add(part)
    assert answer.num_committed == fed
    assert not answer.pending
    assert list(found.calls) == list(range(len(found.calls)))
    return found


def read_at_every_cut(reading: Reading, text: str) -> Read:
    """Whole, in single characters, and in two halves cut anywhere; all of them agree."""
    whole = read(reading, [text])
    assert read(reading, text).plain == whole.plain
    for cut in range(1, len(text)):
        assert read(reading, [text[:cut], text[cut:]]).plain == whole.plain, text[cut - 20 : cut + 20]
    return whole


def cut_at(text: str, cuts: Iterable[int]) -> list[str]:
    at = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(at)]


def calling(format: CallFormat, **rest: Any) -> Reading:
    return Reading(**({"format": format, "channels": format is CHANNELS, "tools": TOOLS, "most_calls": 16} | rest))
