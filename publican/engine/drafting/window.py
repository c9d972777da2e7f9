"""How many tokens to guess: as many as lately came true (exllamav3's rule)."""

from __future__ import annotations

import math
from dataclasses import dataclass

_RISING, _FALLING = 0.65, 0.35
_TOO_FEW = 0.3
_PROBE_LEN, _PROBE_EVERY = 2, 16


@dataclass(slots=True)
class Window:
    """The guessing of one sequence. Engine thread only.

    A moving mean of guesses that came true per step says how many to make next; below a third, none are made but a short
    probe now and then, so a text that nobody can guess costs next to nothing.
    """

    longest: int
    mean: float = 1.0
    _rounds: int = 0

    def next(self) -> int:
        """How many tokens to guess for the coming step."""
        self._rounds += 1
        if self.mean < _TOO_FEW:
            return min(_PROBE_LEN, self.longest) if self._rounds % _PROBE_EVERY == 0 else 0
        return min(self.longest, math.ceil(self.mean))

    def learn(self, num_guessed: int, num_true: int) -> None:
        """So many guesses were made, and so many came true. A window that came true whole may have been too short."""
        if num_guessed == 0:
            return
        seen = num_true + (1 if num_true == num_guessed else 0)
        weight = _RISING if seen > self.mean else _FALLING
        self.mean += weight * (seen - self.mean)
