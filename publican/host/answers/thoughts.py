"""What models put around their thoughts."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class Tags(NamedTuple):
    start: str
    end: str


THINK = Tags("<think>", "</think>")
KNOWN = (
    Tags("<seed:think>", "</seed:think>"),
    Tags("[THINK]", "[/THINK]"),
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),
    Tags("<|channel>thought", "<channel|>"),
    Tags("<|inner_prefix|>", "<|inner_suffix|>"),
    Tags("<|begin_of_thought|>", "<|end_of_thought|>"),
    Tags("◁think▷", "◁/think▷"),
    Tags("<thinking>", "</thinking>"),
    Tags("<thought>", "</thought>"),
    Tags("<reasoning>", "</reasoning>"),
    Tags("Here is my thought process:", "Here is my response:"),
    THINK,
)
_ANYWHERE = (THINK, Tags("<thinking>", "</thinking>"))
"""What many models took over from others: looked for whatever the template says, as it can only begin an answer."""


def find_tags(source: str, texts: Collection[str]) -> tuple[Tags, ...]:
    """The tags that a model's own chat template knows, or else its vocabulary (`texts` of its special tokens)."""
    own = tuple(tags for tags in KNOWN if tags.end in source)
    return own or tuple(tags for tags in KNOWN if tags.end in texts)


def with_common(own: tuple[Tags, ...]) -> tuple[Tags, ...]:
    return tuple(dict.fromkeys((*own, *_ANYWHERE)))


def opened_in(text: str, continued: str | None, known: Collection[Tags]) -> Tags | None:
    """The tags of the thought that the prompt `text` leaves open for the model to go on with; None for none.

    `continued`: the message that is to be gone on with. A user's words do not count: they end before the end of the prompt.
    """
    for tags in known:
        if text.rstrip().endswith(tags.start):
            return tags
        if continued is not None and continued.lstrip().startswith(tags.start) and tags.end not in continued:
            return tags
    return None


def closed_in(text: str, known: Collection[Tags]) -> bool:
    """Whether the prompt `text` ends with a thought that is over, so that none should follow (Qwen 3 told not to think)."""
    return any(text.rstrip().endswith(tags.end) for tags in known)
