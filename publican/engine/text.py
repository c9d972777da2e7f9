"""Tokens to text, as it may be shown: whole characters only, and never a part of a stop string.

One `TextStream` per choice, used by the engine thread. Work per token is constant: nothing re-reads the text so far.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from publican.core.events import TokenOutput
from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary


@dataclass(frozen=True, slots=True)
class Released:
    """What a push lets go: text that is final, the tokens it completes, and the stop string that was met, if one was."""

    text: str = ""
    tokens: tuple[TokenOutput, ...] = ()
    stop: str | None = None


class StopStrings:
    """Finds stop strings in a growing text, and says how much of its tail might still become one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._longest = max(map(len, strings), default=0)

    def find(self, text: str) -> tuple[int, str] | None:
        """The stop string that begins first in `text` (the longest of those), and where."""
        found = [(at, -len(s), s) for s in self._strings if (at := text.find(s)) >= 0]
        if not found:
            return None
        at, _, string = min(found)
        return at, string

    def num_undecided(self, text: str) -> int:
        """How many characters at the end of `text` are the beginning of some stop string."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[start:]
            if any(s.startswith(tail) for s in self._strings):
                return len(tail)
        return 0


class TextStream:
    """The text of one choice.

    Args:
        vocabulary: gives the bytes of each token.
        stop: strings that end the text.
        include_stop: whether the text keeps the stop string that ended it.
        special_tokens: whether special tokens appear in the text.
    """

    def __init__(
        self, vocabulary: Vocabulary, stop: Sequence[str] = (), include_stop: bool = False, special_tokens: bool = False
    ) -> None:
        self._pieces = vocabulary.pieces
        self._hidden: frozenset[TokenId] = frozenset() if special_tokens else vocabulary.special
        self._stop = StopStrings(stop) if stop else None
        self._include_stop = include_stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # decoded, not yet released
        self._num_released = 0  # characters
        self._tokens: deque[tuple[int, TokenOutput]] = deque()  # (character at which its text is complete, token)

    def push(self, token: TokenOutput) -> Released:
        """Add one token; returns what may be shown now. After a stop nothing more may be pushed."""
        if token.id not in self._hidden:
            self._held += self._decoder.decode(self._pieces[token.id])
        half_character = bool(self._decoder.getstate()[0])
        self._tokens.append((self._num_released + len(self._held) + half_character, token))
        if self._stop is None:
            return self._release(len(self._held))
        met = self._stop.find(self._held)
        if met is None:
            return self._release(len(self._held) - self._stop.num_undecided(self._held))
        at, string = met
        released = self._release(at + len(string) if self._include_stop else at, all_tokens=True)
        return Released(released.text, released.tokens, string)

    def flush(self) -> Released:
        """The end: what was held back for a stop string that did not come. Half a character is dropped."""
        return self._release(len(self._held), all_tokens=True)

    def _release(self, num_chars: int, all_tokens: bool = False) -> Released:
        text, self._held = self._held[:num_chars], self._held[num_chars:]
        self._num_released += num_chars
        tokens = []
        while self._tokens and (all_tokens or self._tokens[0][0] <= self._num_released):
            tokens.append(self._tokens.popleft()[1])
        return Released(text, tuple(tokens))
