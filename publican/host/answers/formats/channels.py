"""gpt-oss's answers: every part says what it is for: ``<|channel|>analysis<|message|>…<|end|>``, then the answer as ``final``,
or a call as ``commentary to=functions.name``. The parts are read by `answer`; here they are written and demanded."""

from __future__ import annotations

import re
from collections.abc import Sequence

from publican.core.request import Tool
from publican.host.answers import json_text
from publican.host.answers.formats.format import Call, Sink, random_id
from publican.host.answers.lark import Lark
from publican.host.answers.marks import Marks
from publican.host.answers.schema import arguments_schema
from publican.host.answers.source import Source, Step

STARTS = Marks(("<|start|>", "<|channel|>"))
ADDRESSED = Marks(("to=functions.",))
"""The name may come first, behind the ``<|start|>assistant`` that the prompt ends with."""
MESSAGE = "<|message|>"
ENDS = Marks(("<|end|>", "<|call|>", "<|return|>", *STARTS.strings))
LONGEST_HEADER = 256
_CALLED = re.compile(r"to=functions\.([\w.:/-]{1,128})")
_THOUGHT = re.compile(r"<\|channel\|>\s*analysis\b")
_HEAD, _TAIL = "<|channel|>commentary to=functions.", " <|constrain|>json<|message|>"
_NEXT = "<|call|><|start|>assistant"


class ChannelFormat:
    """Follows `CallFormat`, but for reading: calls are not told by a mark of their own."""

    name = "gpt-oss"
    signs = ("<|channel|>analysis", "<|channel|>")
    opens = STARTS.strings
    marks = (*ENDS.strings, MESSAGE, "<|constrain|>")
    bare = False

    def call_id(self, name: str, index: int) -> str:
        return random_id(name, index)

    def read(self, source: Source, sink: Sink) -> Step[bool]:
        yield from ()
        return False

    def write(self, calls: Sequence[Call]) -> str:
        return _NEXT.join(f"{_HEAD}{call.name}{_TAIL}{json_text.dump(dict(call.arguments))}" for call in calls)

    def demand(self, lark: Lark, tools: Sequence[Tool], most: int) -> str:
        thought = lark.sequence(
            lark.text("<|channel|>analysis<|message|>"), lark.up_to("<|end|>"), lark.text("<|start|>assistant")
        )
        calls = lark.several(lark.one_of([self._demand_one(lark, tool) for tool in tools]), lark.text(_NEXT), most)
        return lark.sequence(f"({lark.rule(thought)})?", calls)

    def _demand_one(self, lark: Lark, tool: Tool) -> str:
        return lark.rule(lark.sequence(lark.text(f"{_HEAD}{tool.name}{_TAIL}"), lark.json(arguments_schema(tool))))


def called(header: str) -> str | None:
    """The function that the part with `header` calls; None if it is no call."""
    met = _CALLED.search(header)
    return met.group(1) if met else None


def is_thought(header: str) -> bool:
    return _THOUGHT.search(header) is not None
