"""`Drafter`: whoever guesses coming tokens, for all sequences of a step at once. Engine thread only.

Two follow it: `lookup` finds guesses in the text itself, `model` asks a smaller model. Neither decides anything: the engine
samples every position as it would without them, so a drafter can cost time and never change an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from publican.core.ids import TokenId
from publican.engine.job import Job


class Guesses(Protocol):
    """What a drafter keeps of one sequence."""

    def learn(self, num_guessed: int, num_true: int) -> None:
        """Of `num_guessed` guesses, the first `num_true` came true."""
        ...

    def leave(self) -> None:
        """The sequence does not run any more: it has ended, or was put back and may come again. Twice does no harm."""
        ...


class Asking(NamedTuple):
    """A sequence that could use guesses: what its drafter keeps of it, and its live list of tokens."""

    guesses: Guesses
    tokens: list[TokenId]


class Drafter(Protocol):
    """Guesses."""

    @property
    def took_s(self) -> float:
        """How long the last `propose` computed, in seconds; 0 where that is nothing to speak of."""
        ...

    def begin(self, job: Job, index: int, full_len: int) -> Guesses:
        """Somebody to keep what answer `index` of `job` needs; it can become `full_len` tokens long."""
        ...

    def propose(self, asking: Sequence[Asking], num_planned: int, num_free: int) -> list[list[TokenId]]:
        """Tokens that may follow each of `asking`, none where nothing is worth a try.

        Args:
            num_planned: tokens that are in the step already.
            num_free: how many guesses it may have, in all.
        """
        ...

    def timed(self, num_tokens: int, step_s: float) -> None:
        """A step without prompts, of so many tokens, guesses among them, took so long."""
        ...

    def close(self) -> None:
        """Give back all memory."""
        ...
