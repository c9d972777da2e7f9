"""Guesses what followed the last time the text stood like this (prompt lookup decoding, Saxena 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from publican.core.ids import TokenId

_LONGEST, _SHORTEST = 4, 2
"""Agreement is looked for in so many of the last tokens: more of them first."""


class NgramDrafter:
    """Guesses for one sequence. Remembers where each run of tokens last ended; work per token is constant."""

    def __init__(self) -> None:
        self._ends: list[dict[tuple[TokenId, ...], int]] = [{} for _ in range(_LONGEST + 1)]
        self._num_indexed = 0

    def propose(self, tokens: Sequence[TokenId], num_tokens: int) -> list[TokenId]:
        """`num_tokens` that may follow `tokens`, the sequence's live list; none if this never stood there before."""
        self._index(tokens)
        for length in range(_LONGEST, _SHORTEST - 1, -1):
            end = self._ends[length].get(tuple(tokens[-length:]))
            if end is not None:
                return self._continued(tokens, end, num_tokens)
        return []

    @staticmethod
    def _continued(tokens: Sequence[TokenId], end: int, num_tokens: int) -> list[TokenId]:
        """What came after place `end`; where that runs into the present, the text repeats itself, and so does the guess."""
        found = list(tokens[end : end + num_tokens])
        period = len(tokens) - end
        while len(found) < num_tokens:
            found.append(found[len(found) - period])
        return found

    def _index(self, tokens: Sequence[TokenId]) -> None:
        """Note every run that ends before the last token: the last one's own would only find itself."""
        if self._num_indexed > len(tokens):  # the sequence went back; what was noted beyond is overwritten as it comes again
            self._num_indexed = len(tokens) - 1
        for end in range(self._num_indexed + 1, len(tokens)):
            for length in range(_SHORTEST, _LONGEST + 1):
                if end >= length:
                    self._ends[length][tuple(tokens[end - length : end])] = end
        self._num_indexed = max(self._num_indexed, len(tokens) - 1)
