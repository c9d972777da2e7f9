"""`Style`: how a model thinks and how it calls tools, told from its chat template and its vocabulary. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from publican.core.errors import SettingsError
from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary
from publican.host.answers.formats.format import CallFormat
from publican.host.answers.formats.table import CHANNELS, FORMATS, HERMES, LLAMA, MISTRAL
from publican.host.answers.marks import Marks
from publican.host.answers.thoughts import KNOWN, Tags, find_tags

_OFFERS_TOOLS = re.compile(r"\b(tools|tool_calls)\b")
_LONGEST_MARK = 64
_BY_NAME = (("mistral", MISTRAL), ("mixtral", MISTRAL), ("llama3", LLAMA), ("llama4", LLAMA))


@dataclass(frozen=True)
class Style:
    """One template's.

    Attributes:
        tags: what stands around thoughts; none for a model that is not known to think.
        format: how calls are written.
        offers_tools: the template shows tools and calls to the model by itself.
        special: the ids of special tokens by their texts. Only these are hidden from a reader, so only these matter here.
    """

    tags: tuple[Tags, ...] = ()
    format: CallFormat = HERMES
    offers_tools: bool = False
    special: Mapping[str, TokenId] = field(default_factory=dict)

    @property
    def marks(self) -> tuple[str, ...]:
        return (*self.format.marks, *(mark for tags in self.tags for mark in tags))

    @cached_property
    def hidden(self) -> Marks:
        """The special tokens as marks. Made once, on a thread: it takes a while where there are thousands."""
        return Marks(self.special)

    def sees_special(self, marks: Collection[str]) -> bool:
        """Whether some of `marks` are special tokens, so that those must be in the text for a reader to see them."""
        return any(mark in self.special for mark in marks)

    @property
    def channels(self) -> bool:
        """Whether answers come in parts that say what they are for."""
        return self.format is CHANNELS


def style_of(source: str, special: Mapping[str, TokenId], name: str = "", calls: str = "", thoughts: str = "") -> Style:
    """The style of a model.

    Args:
        source: the chat template's Jinja text.
        special: see `Style`.
        name: what the model is called, where neither template nor vocabulary say anything.
        calls: the name of a format, where a person has chosen one.
        thoughts: the opening tag of thoughts or ``none``, where a person has chosen.

    Raises:
        SettingsError: there is no such format, or no such tag.
    """
    offers_tools = _OFFERS_TOOLS.search(source) is not None
    found = _chosen_format(calls) if calls else _find_format(source, special, name) if offers_tools else HERMES
    tags = _chosen_tags(thoughts) if thoughts else find_tags(source, special)
    return Style(tags, found, offers_tools, special)


def special_texts(vocabulary: Vocabulary) -> dict[str, TokenId]:
    """The texts of tokens that are no text: control tokens, and those that end an answer."""
    ids = sorted(vocabulary.special | vocabulary.end, reverse=True)
    pieces = ((vocabulary.pieces[id], id) for id in ids if 0 < len(vocabulary.pieces[id]) <= _LONGEST_MARK)
    return {piece.decode("utf-8", "replace"): id for piece, id in pieces}


def _find_format(source: str, special: Collection[str], name: str) -> CallFormat:
    """What the template writes, else what the vocabulary has tokens for, else what the name says, else the commonest."""
    for texts in ((source,), special):
        for format in FORMATS:
            if any(sign in text for sign in format.signs for text in texts):
                return format
    words = re.sub(r"[^a-z0-9]", "", name.lower())
    return next((format for known, format in _BY_NAME if known in words), HERMES)


def _chosen_format(name: str) -> CallFormat:
    found = next((format for format in FORMATS if format.name == name), None)
    if found is None:
        names = ", ".join(sorted(format.name for format in FORMATS))
        raise SettingsError(f"There is no way of writing tool calls called {name!r:.60}; choose one of: {names}.")
    return found


def _chosen_tags(start: str) -> tuple[Tags, ...]:
    if start == "none":
        return ()
    found = tuple(tags for tags in KNOWN if tags.start == start)
    if not found:
        starts = ", ".join(tags.start for tags in KNOWN)
        raise SettingsError(f"There is no tag {start!r:.60} around thoughts; choose none, or one of: {starts}.")
    return found
