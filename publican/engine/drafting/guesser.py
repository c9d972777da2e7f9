"""`Guesser`: what the text of one sequence makes it expect, and how far that may be believed. Engine thread only."""

from __future__ import annotations

from collections.abc import Sequence

from publican.core.ids import TokenId
from publican.engine.drafting.ngram import NgramDrafter
from publican.engine.drafting.window import Window


class Guesser:
    """The guesses of one sequence.

    Args:
        longest: tokens guessed for one step at most.
        full_len: how long the sequence can become; a guess never goes so far.
    """

    def __init__(self, longest: int, full_len: int) -> None:
        self._drafter = NgramDrafter()
        self._window = Window(longest)
        self._full_len = full_len

    def guess(self, tokens: Sequence[TokenId], at_most: int) -> list[TokenId]:
        """Tokens that may follow `tokens`, the sequence's live list; none where nothing is worth a try."""
        wanted = min(self._window.next(), at_most, self._full_len - 1 - len(tokens))
        return self._drafter.propose(tokens, wanted) if wanted > 0 else []

    def learn(self, num_guessed: int, num_true: int) -> None:
        """Of `num_guessed` guesses, the first `num_true` came true."""
        self._window.learn(num_guessed, num_true)

    def leave(self) -> None:
        """What was noted is of use again if the sequence comes back."""
