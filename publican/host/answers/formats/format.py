"""`CallFormat`: one way of writing tool calls, read, written and demanded. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from publican.core.request import Tool
from publican.host.answers.lark import Lark
from publican.host.answers.source import Source, Step


class Call(NamedTuple):
    """A call, whole."""

    name: str
    arguments: Mapping[str, Any]


class Sink(Protocol):
    """Where a reader puts what it finds. Each method commits what the source has read."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The offered tools by name."""
        ...

    @property
    def strict(self) -> bool:
        """Whether a grammar has seen to it that calls are well written, so that what looks like a slip is none."""
        ...

    def begin(self, name: str) -> None:
        """A call of `name` begins; the one before has ended."""
        ...

    def arguments(self, text: str) -> None:
        """More of its arguments, JSON text."""
        ...

    def end(self) -> None: ...


class CallFormat(Protocol):
    """Stateless."""

    @property
    def name(self) -> str: ...

    @property
    def signs(self) -> tuple[str, ...]:
        """Texts that give the format away in a chat template or a vocabulary, each by itself."""
        ...

    @property
    def opens(self) -> tuple[str, ...]:
        """The marks that calls begin with, anywhere in an answer."""
        ...

    @property
    def marks(self) -> tuple[str, ...]:
        """All marks, those between and behind calls too: special tokens among them must be seen."""
        ...

    @property
    def bare(self) -> bool:
        """Whether calls may begin without a mark, at the beginning of an answer."""
        ...

    def read(self, source: Source, sink: Sink) -> Step[bool]:
        """Read the calls that begin here: with one of `opens`, or for a bare format with none.

        False: these are no calls, and nothing was committed. Wherever it ends, the rest is no part of the calls.
        """
        ...

    def write(self, calls: Sequence[Call]) -> str:
        """What a model would write to make `calls`, at least one."""
        ...

    def demand(self, lark: Lark, tools: Sequence[Tool], most: int) -> str:
        """A Lark expression for one to `most` calls of `tools`."""
        ...

    def call_id(self, name: str, index: int) -> str:
        """A new id for a call, in the form that models of this format know. `index` counts the calls of a conversation."""
        ...


def random_id(name: str, index: int) -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
