"""Finds special tokens in text, before any other rule looks at it.

The rule is llama.cpp's: longer tokens choose first, each takes its occurrences from left to right, and nothing is taken
twice. (Hugging Face's is leftmost-longest; the two differ only where special tokens overlap.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from publican.core.ids import TokenId

_KEY_LEN = 3
_C_SPACES = " \t\n\v\f\r"


class SpecialToken(NamedTuple):
    """One token to look for. `strips_right`: white space after it belongs to it."""

    text: str
    id: TokenId
    strips_right: bool = False


class Part(NamedTuple):
    """A stretch of text, or the special token that stands there."""

    text: str
    token: TokenId | None


class SpecialTokens:
    """A fixed set of tokens. Immutable, so any thread may use it."""

    def __init__(self, tokens: Sequence[SpecialToken]) -> None:
        ordered = sorted((t for t in tokens if t.text), key=lambda t: (-len(t.text.encode("utf-8", "surrogateescape")), t.id))
        # Vocabularies have thousands of these with a few beginnings, and almost no text has any: beginnings are asked first.
        self._by_beginning: dict[str, list[tuple[int, SpecialToken]]] = {}
        for rank, token in enumerate(ordered):
            self._by_beginning.setdefault(token.text[:_KEY_LEN], []).append((rank, token))

    def split(self, text: str) -> Iterator[Part]:
        """`text` in parts, in order; stretches of text are never empty."""
        at = 0
        for start, end, token in self._find(text):
            if at < start:
                yield Part(text[at:start], None)
            yield Part(text[start:end], token)
            at = end
        if at < len(text):
            yield Part(text[at:], None)

    def _find(self, text: str) -> list[tuple[int, int, TokenId]]:
        """(start, end, token) of every special token, in order."""
        present = [
            ranked
            for beginning, tokens in self._by_beginning.items()
            if beginning in text
            for ranked in tokens
            if ranked[1].text in text
        ]
        if not present:
            return []
        found: list[tuple[int, int, TokenId]] = []
        taken = bytearray(len(text))
        for _, token in sorted(present):
            self._take(text, token, taken, found)
        return sorted(found)

    def _take(self, text: str, token: SpecialToken, taken: bytearray, found: list[tuple[int, int, TokenId]]) -> None:
        """Take all occurrences of `token` in what is still free. Linear in the text: what is taken is skipped at once."""
        length = len(token.text)
        at = text.find(token.text)
        while at >= 0:
            blocked = taken.find(1, at, at + length)
            if blocked >= 0:
                at = taken.find(0, blocked)
                if at < 0:
                    return
            else:
                end = at + length
                while token.strips_right and end < len(text) and not taken[end] and text[end] in _C_SPACES:
                    end += 1
                taken[at:end] = b"\1" * (end - at)
                found.append((at, end, token.id))
                at = end
            at = text.find(token.text, at)
