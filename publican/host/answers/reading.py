"""`Reading`: what to look for in the answers to one request. A value, made of the request and the model's style."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from publican.core.request import ChatPrompt, Request, Tool
from publican.core.sampling import SamplingParams
from publican.host.answers.forcing import can_join, demanded, is_free, most_calls, offered
from publican.host.answers.formats.format import CallFormat
from publican.host.answers.formats.table import CHANNELS
from publican.host.answers.marks import Marks
from publican.host.answers.showing import calls_of
from publican.host.answers.style import Style
from publican.host.answers.thoughts import Tags, closed_in, opened_in, with_common


@dataclass(frozen=True, slots=True)
class Reading:
    """One request's.

    Attributes:
        tags: what may stand around a thought at the beginning of an answer; none: thoughts are not looked for.
        opened: the prompt ends within a thought, and these are its tags.
        closed: the prompt ends with a thought that is over.
        split: thoughts come apart from the answer; otherwise they stay in it as they are written.
        channels: answers come in parts that say what they are for (gpt-oss), thoughts and calls among them.
        format: how calls are written; None: calls are not looked for.
        tools: the offered tools by name.
        most_calls: calls that are given; what the model makes beyond them is dropped.
        first_call: how many calls the conversation already holds.
        forced: a call is demanded by a grammar.
        hidden: texts of special tokens, which no reader wants to see but for `marks`; None: there are none in the text.
    """

    tags: tuple[Tags, ...] = ()
    opened: Tags | None = None
    closed: bool = False
    split: bool = True
    channels: bool = False
    format: CallFormat | None = None
    tools: Mapping[str, Tool] = field(default_factory=dict)
    most_calls: int = 1
    first_call: int = 0
    forced: bool = False
    hidden: Marks | None = None

    @property
    def marks(self) -> frozenset[str]:
        """Every text that must be seen where it stands."""
        own = (*self.tags, *filter(None, (self.opened,)))
        formats = (*filter(None, (self.format,)), *([CHANNELS] if self.channels else []))
        return frozenset([mark for tags in own for mark in tags] + [mark for format in formats for mark in format.marks])


def reading_of(request: Request, prompt: ChatPrompt, style: Style, text: str) -> Reading | None:
    """What to look for in answers to `prompt`, whose text is `text`. None: nothing, the answer is passed on as it comes."""
    tools = offered(prompt)
    wanted = request.wanted
    if not tools and not wanted.split_reasoning:
        return None
    reading = Reading(
        tags=() if style.channels else with_common(style.tags),
        channels=style.channels,
        opened=_opened(request.sampling, prompt, style, text),
        closed=closed_in(text, with_common(style.tags)),
        split=wanted.split_reasoning,
        format=style.format if tools else None,
        tools={tool.name: tool for tool in tools},
        most_calls=most_calls(prompt),
        first_call=sum(len(calls_of(message)) for message in prompt.messages),
        forced=bool(demanded(prompt)),
    )
    if wanted.special_tokens or not style.sees_special(reading.marks):
        return reading
    return replace(reading, hidden=style.hidden)


def _opened(sampling: SamplingParams, prompt: ChatPrompt, style: Style, text: str) -> Tags | None:
    """A constraint that leaves no room for a thought is all that will be answered, even if the prompt opens one."""
    if not (demanded(prompt) or is_free(sampling) or can_join(sampling)):
        return None
    last = prompt.messages[-1].content if prompt.continue_last and prompt.messages else None
    return opened_in(text, last, with_common(style.tags))
