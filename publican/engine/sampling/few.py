"""The end of the short way: a row of which the best few tokens are known, as plain Python numbers.

Whoever finds the best of a row fast (see `core.executor.Top`) makes most cuts trivial: they leave some of those few, or it can
be seen that more are needed, and then the caller goes the longer way. The results are that way's to the last bit.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from publican.engine.sampling.arrays import BELOW_ONE, Host
from publican.engine.sampling.recipe import Recipe

ENOUGH = 64
"""So many are looked at where nothing says how many will be needed."""
MOST = 256


def num_wanted(recipe: Recipe) -> int:
    """How many of the best to look at for a row; 0 where they would not help."""
    for step, value in recipe.steps:
        if step == "top_k":
            return int(value) + recipe.keep_ties if value < MOST else 0
        if step in ("min_p", "top_p"):
            return ENOUGH
    return 0


class Few:
    """The best tokens of a row, likeliest first, of equals the lowest id first.

    Args:
        tokens: their ids.
        logits: theirs, of NumPy; more may follow below the last, until something cuts.
        total: gives the sum of all weights of the row under a scale, as `Rows.total`.
    """

    def __init__(self, tokens: list[int], logits: Host, total: Callable[[Any], float]) -> None:
        self._tokens = tokens
        self._logits = logits
        self._peak = logits[0]
        self._total = total
        self._scale: Any = None
        self._is_cut = False
        self._weights: list[float] | None = None

    def draw(self, recipe: Recipe, uniform: float) -> int | None:
        """The token on which `uniform` falls; None if these few do not tell."""
        for step, value in recipe.steps:
            if step == "temperature":
                factor = self._logits.dtype.type(value)
                self._scale = factor if self._scale is None else self._scale * factor
                self._weights = None
                continue
            count = self._num_left(step, value, recipe)
            if not self._is_cut and not self._suffice(count, is_exact=step == "top_k" and not recipe.keep_ties):
                return None
            self._is_cut = True
            if count < len(self._logits):
                self._logits = self._logits[:count]
        if not self._is_cut:
            return None
        weights = self._get_weights()
        by_id = sorted(zip(self._tokens, weights, strict=False))
        running = list(accumulate([weight for _, weight in by_id]))
        return by_id[bisect_right(running, min(uniform * running[-1], running[-1] * BELOW_ONE))][0]

    def _suffice(self, count: int, is_exact: bool) -> bool:
        """Whether the first cut leaves these `count`, none that is not here, and none that is out already."""
        known = len(self._logits)
        return (count < known or (is_exact and count == known)) and bool(self._logits[count - 1] > -np.inf)

    def _num_left(self, step: str, value: float, recipe: Recipe) -> int:
        if step == "min_p":
            distance = -math.log(value) if self._scale is None else -math.log(value) / float(self._scale)
            return int(np.count_nonzero(self._logits >= self._logits.dtype.type(float(self._peak) - distance)))
        if step == "top_k":
            count = min(int(value), len(self._logits))
            return int(np.count_nonzero(self._logits >= self._logits[count - 1])) if recipe.keep_ties else count
        running = list(accumulate(self._get_weights()))
        limit = value * (running[-1] if self._is_cut else self._total(self._scale))
        if math.isnan(limit):
            return len(running)
        return max(1, bisect_right(running, limit)) if recipe.exclusive else 1 + bisect_left(running, limit)

    def _get_weights(self) -> list[float]:
        if self._weights is None:
            depths = self._logits - self._peak
            self._weights = np.exp(depths if self._scale is None else depths * self._scale).tolist()
        else:
            del self._weights[len(self._logits) :]
        return self._weights
