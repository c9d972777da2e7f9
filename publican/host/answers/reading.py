"""`Reading`: what to look for in the answers to one request. A value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from publican.core.request import Tool
from publican.host.answers.formats.format import CallFormat
from publican.host.answers.thoughts import Tags


@dataclass(frozen=True, slots=True)
class Reading:
    """One request's.

    Attributes:
        tags: what may stand around a thought at the beginning of an answer; none: thoughts are not looked for.
        opened: the prompt ends within a thought, and these are its tags.
        split: thoughts come apart from the answer; otherwise they stay in it as they are written.
        format: how calls are written; None: calls are not looked for.
        tools: the offered tools by name.
        most_calls: calls that are given; what the model makes beyond them is dropped.
        first_call: how many calls the conversation already holds.
        hidden: texts of special tokens that no reader wants to see.
    """

    tags: tuple[Tags, ...] = ()
    opened: Tags | None = None
    split: bool = True
    format: CallFormat | None = None
    tools: Mapping[str, Tool] = field(default_factory=dict)
    most_calls: int = 1
    first_call: int = 0
    hidden: tuple[str, ...] = ()
