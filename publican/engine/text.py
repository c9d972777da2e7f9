"""Tokens to text, as it may be shown: whole characters only, and never a part of a stop string or of a banned one.

One `TextStream` per choice, used by the engine thread. Work per token is constant: nothing re-reads the text so far.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from publican.core.events import TokenOutput
from publican.core.ids import TokenId
from publican.core.tokenizer import Vocabulary


@dataclass(frozen=True, slots=True)
class Released:
    """What a push lets go: text that is final, and the tokens it completes.

    Attributes:
        stop: the stop string that was met.
        num_banned: so many of the last tokens hold a banned string: `take_back` them, or `let_pass`.
    """

    text: str = ""
    tokens: tuple[TokenOutput, ...] = ()
    stop: str | None = None
    num_banned: int = 0


class Strings:
    """Finds strings in a growing text, and says how much of its tail might still become one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._longest = max(map(len, strings), default=0)

    def find(self, text: str, start: int = 0) -> tuple[int, str] | None:
        """The string that begins first in `text` from `start` on (the longest of those), and where."""
        found = [(at, -len(s), s) for s in self._strings if (at := text.find(s, start)) >= 0]
        if not found:
            return None
        at, _, string = min(found)
        return at, string

    def num_undecided(self, text: str) -> int:
        """How many characters at the end of `text` are the beginning of some string."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[start:]
            if any(s.startswith(tail) for s in self._strings):
                return len(tail)
        return 0


class _Held(NamedTuple):
    """A token whose text is not all released. `start` and `end` count characters from the beginning of the answer."""

    token: TokenOutput
    start: int
    end: int
    decoder_state: tuple[bytes, int]
    skip: int


class TextStream:
    """The text of one choice.

    Args:
        vocabulary: gives the bytes of each token.
        stop: strings that end the text.
        include_stop: whether the text keeps the stop string that ended it.
        special_tokens: whether special tokens appear in the text.
        banned: strings that must not appear, in capitals or not. While one might be under way, whole tokens are held.
        skip: this many bytes at the beginning are not part of the answer: they stood in the prompt (token healing).
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        stop: Sequence[str] = (),
        include_stop: bool = False,
        special_tokens: bool = False,
        banned: Sequence[str] = (),
        skip: int = 0,
    ) -> None:
        self._pieces = vocabulary.pieces
        self._hidden: frozenset[TokenId] = frozenset() if special_tokens else vocabulary.special
        self._stop = Strings(stop) if stop else None
        self._banned = Strings([_folded(s) for s in banned]) if banned else None
        self._include_stop = include_stop
        self._skip = skip
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""  # decoded, not yet released
        self._num_released = 0  # characters
        self._tokens: deque[_Held] = deque()
        self._passed = 0  # banned strings that begin before this character are let pass

    def push(self, token: TokenOutput) -> Released:
        """Add one token; returns what may be shown now. After a stop nothing more may be pushed."""
        state, skip = self._decoder.getstate(), self._skip
        start = self._num_released + len(self._text)
        if token.id not in self._hidden:
            self._text += self._decoder.decode(self._own(self._pieces[token.id]))
        half_character = bool(self._decoder.getstate()[0])
        end = self._num_released + len(self._text) + half_character
        self._tokens.append(_Held(token, start, end, state, skip))
        if self._banned is not None and (num_banned := self._num_banned(self._banned)):
            return Released(num_banned=num_banned)
        return self._released()

    def _own(self, piece: bytes) -> bytes:
        skipped, self._skip = piece[: self._skip], max(0, self._skip - len(piece))
        return piece[len(skipped) :]

    def _released(self) -> Released:
        if self._stop is None:
            return self._release(self._final(len(self._text)))
        met = self._stop.find(self._text)
        if met is None:
            return self._release(self._final(len(self._text) - self._stop.num_undecided(self._text)))
        at, string = met
        released = self._release(at + len(string) if self._include_stop else at, all_tokens=True)
        return Released(released.text, released.tokens, string)

    # --- banned strings

    def _num_banned(self, banned: Strings) -> int:
        met = banned.find(_folded(self._text), max(0, self._passed - self._num_released))
        if met is None:
            return 0
        start = self._num_released + met[0]
        return sum(held.end > start for held in self._tokens)

    def take_back(self, num_tokens: int) -> None:
        """Forget the last tokens that were pushed; none of their text was released."""
        for _ in range(num_tokens):
            held = self._tokens.pop()
        self._skip = held.skip
        self._text = self._text[: held.start - self._num_released]
        self._decoder.setstate(held.decoder_state)

    def let_pass(self) -> Released:
        """The banned string stays after all: there is no way around it."""
        self._passed = self._num_released + len(self._text)
        return self._released()

    def _final(self, num_chars: int) -> int:
        """How many of so many characters can be released, with a banned string perhaps under way: only whole tokens."""
        if self._banned is None:
            return num_chars
        num_chars = min(num_chars, len(self._text) - self._banned.num_undecided(_folded(self._text)))
        ends = (held.end - self._num_released for held in self._tokens)
        return max((end for end in ends if end <= num_chars), default=0)

    # --- the end

    def flush(self) -> Released:
        """The end: what was held back for a string that did not come. Half a character is dropped."""
        return self._release(len(self._text), all_tokens=True)

    def _release(self, num_chars: int, all_tokens: bool = False) -> Released:
        text, self._text = self._text[:num_chars], self._text[num_chars:]
        self._num_released += num_chars
        tokens = []
        while self._tokens and (all_tokens or self._tokens[0].end <= self._num_released):
            tokens.append(self._tokens.popleft().token)
        return Released(text, tuple(tokens))


def _folded(text: str) -> str:
    """Small letters, character by character, so that places stay the same."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
