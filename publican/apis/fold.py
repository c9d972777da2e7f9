"""`Fold`: a whole answer, folded from its stream. So a non-streaming answer is never made in a second way. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from publican.apis.body import parse
from publican.apis.feed import Item
from publican.core.errors import InvalidRequest, PublicanError
from publican.core.events import (
    ChoiceFinished,
    Delta,
    Failed,
    Finished,
    FinishReason,
    Started,
    TokenOutput,
    ToolCallDelta,
    Usage,
)
from publican.core.ids import TokenId


@dataclass(slots=True)
class ToolCall:
    """A call of a tool so far; `arguments` is JSON text."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    @property
    def parsed(self) -> dict[str, Any]:
        """The arguments as an object, for clients that want one; what a model wrote that is none stands in one."""
        try:
            arguments = parse((self.arguments or "{}").encode("utf-8", "replace"))
        except InvalidRequest:
            arguments = self.arguments
        return arguments if isinstance(arguments, dict) else {"arguments": arguments}


@dataclass(slots=True)
class Choice:
    """One answer so far: `num_tokens` are in `deltas`, which `add` puts there."""

    index: int
    num_tokens: int = 0
    deltas: list[Delta] = field(default_factory=list)
    calls: dict[int, ToolCall] = field(default_factory=dict)
    reason: FinishReason = FinishReason.ABORTED
    stopped_by: str | TokenId | None = None

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def reasoning(self) -> str:
        return "".join(delta.reasoning for delta in self.deltas)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """In the order in which they began."""
        return list(self.calls.values())

    @property
    def tokens(self) -> list[TokenOutput]:
        return [token for delta in self.deltas for token in delta.tokens]

    @property
    def parts(self) -> list[tuple[str, tuple[TokenOutput, ...]]]:
        """The text in pieces, each with the tokens that it is made of. What could be shown before its token was decided (the
        rest of it may begin a stop string) stands with that token."""
        parts: list[tuple[str, tuple[TokenOutput, ...]]] = []
        early = ""
        for delta in self.deltas:
            early += delta.text
            if delta.tokens:
                parts.append((early, delta.tokens))
                early = ""
        return [*parts, (early, ())] if early else parts

    def add(self, delta: Delta) -> None:
        self.deltas.append(delta)
        self.num_tokens += len(delta.tokens)

    def call(self, delta: ToolCallDelta) -> None:
        call = self.calls.setdefault(delta.call, ToolCall())
        call.id, call.name = call.id or delta.id, call.name or delta.name
        call.arguments += delta.arguments


@dataclass(slots=True)
class Fold:
    """Everything a stream has said.

    Attributes:
        started: by the first index of each request's choices.
        error: why the answer broke off, if it did.
    """

    started: dict[int, Started] = field(default_factory=dict)
    choices: dict[int, Choice] = field(default_factory=dict)
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    error: PublicanError | None = None

    def add(self, items: Iterable[Item]) -> None:
        for base, event in items:
            match event:
                case Delta():
                    self.choice(base + event.index).add(event)
                case ToolCallDelta():
                    self.choice(base + event.index).call(event)
                case ChoiceFinished():
                    choice = self.choice(base + event.index)
                    choice.reason, choice.stopped_by = event.reason, event.stopped_by
                case Started():
                    self.started[base] = event
                case Finished():
                    self.usage = event.usage
                case Failed():
                    self.error = event.error

    @property
    def num_thought(self) -> int:
        """How many tokens were thoughts."""
        return sum(num_thought(delta) for choice in self.choices.values() for delta in choice.deltas)

    def choice(self, index: int) -> Choice:
        if index not in self.choices:
            self.choices[index] = Choice(index)
        return self.choices[index]

    def in_order(self) -> list[Choice]:
        return [self.choices[index] for index in sorted(self.choices)]


def num_thought(delta: Delta) -> int:
    """How many of the tokens of `delta` were thoughts: all or none, for the token that ends them begins the answer."""
    return len(delta.tokens) if delta.reasoning and not delta.text else 0


def merge(items: list[Item]) -> list[Item]:
    """The same, with neighbouring texts of one choice joined: what came together may be said in one breath."""
    if len(items) == 1:
        return items
    merged: list[Item] = []
    for owner, group in groupby(items, key=_whose_text):
        run = list(group)
        merged.extend([_joined(run)] if owner is not None and len(run) > 1 else run)
    return merged


def _whose_text(item: Item) -> tuple[int, bool] | None:
    """The index of the choice that `item` is text of, and whether it is reasoning; None for anything else, and for both."""
    event = item.event
    if type(event) is not Delta or (event.reasoning and event.text):
        return None
    return item.base + event.index, bool(event.reasoning)


def _joined(run: list[Item]) -> Item:
    deltas = [item.event for item in run if isinstance(item.event, Delta)]
    tokens = tuple(token for delta in deltas for token in delta.tokens)
    text, reasoning = "".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas)
    return Item(run[0].base, Delta(deltas[0].index, text, tokens, reasoning))
