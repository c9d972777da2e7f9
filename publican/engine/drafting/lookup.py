"""`Lookup`: the drafter that finds its guesses in the text of each sequence. Engine thread only."""

from __future__ import annotations

from collections.abc import Sequence

from publican.core.ids import TokenId
from publican.engine.drafting.drafter import Asking, Guesses
from publican.engine.drafting.guesser import Guesser
from publican.engine.job import Job


class Lookup:
    """See `Drafter`.

    Args:
        longest: tokens guessed for one sequence in one step at most.
    """

    took_s = 0.0

    def __init__(self, longest: int) -> None:
        self._longest = longest

    def begin(self, job: Job, index: int, full_len: int) -> Guesses:
        return Guesser(self._longest, full_len)

    def propose(self, asking: Sequence[Asking], num_planned: int, num_free: int) -> list[list[TokenId]]:
        """Everybody's share of what is free; what one leaves, those after it have."""
        drafts: list[list[TokenId]] = []
        for left, (guesser, tokens) in zip(range(len(asking), 0, -1), asking, strict=True):
            assert isinstance(guesser, Guesser)
            drafts.append(guesser.guess(tokens, num_free // left) if num_free >= left else [])
            num_free -= len(drafts[-1])
        return drafts

    def timed(self, num_tokens: int, step_s: float) -> None:
        """Finding guesses costs nothing, and how long they should be each sequence learns for itself."""

    def close(self) -> None:
        """Nothing is held."""
