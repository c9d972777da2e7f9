"""How likely a guess comes true, by what came of those before. Engine thread only."""

from __future__ import annotations

from dataclasses import dataclass

_PRIOR_WEIGHT = 3.0
_FORGETTING = 0.9


@dataclass(slots=True)
class Chance:
    """The guesses of one sequence, or of all of them.

    A guess counts as tried if those before it in its step came true: what follows a wrong one says nothing. Old steps count
    less and less, so that an answer which turns from code to prose is noticed.

    Attributes:
        forgetting: what a step's result still counts for when the next one is known.
    """

    num_true: float = 0.0
    num_tried: float = 0.0
    forgetting: float = _FORGETTING

    def learn(self, num_guessed: int, num_true: int) -> None:
        """Of `num_guessed` guesses, the first `num_true` came true."""
        if num_guessed == 0:
            return
        self.num_true = self.forgetting * self.num_true + num_true
        self.num_tried = self.forgetting * self.num_tried + num_true + (num_true < num_guessed)

    def value(self, usual: float) -> float:
        """Between 0 and 1; `usual` where nothing is known yet."""
        return (self.num_true + _PRIOR_WEIGHT * usual) / (self.num_tried + _PRIOR_WEIGHT)
