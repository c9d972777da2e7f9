"""The end of the short way: rows of which the best few tokens are known, as plain Python numbers.

Whoever finds the best of a row fast (see `core.executor.Top`) makes most cuts trivial: they leave some of those few, or it can
be seen that more are needed, and then the caller goes the longer way. The results are that way's to the last bit.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import neg
from typing import Any, NamedTuple

import numpy as np

from publican.engine.sampling.arrays import BELOW_ONE, Host
from publican.engine.sampling.recipe import Recipe

ENOUGH = 40
"""So many are looked at where nothing says how many will be needed."""
MOST = 256
_FAR = 1e30
"""Logits beyond this are somebody's way to say "never" or "always", and would leave the range of float32 when scaled."""


class Cut(NamedTuple):
    """A step that leaves some tokens out.

    Attributes:
        value: top_k's count, min_p's distance from the best logit, top_p's share.
        stage: the place in `Method.scales` of the scale under which top_p weighs.
    """

    step: str
    value: float
    stage: int


class Method(NamedTuple):
    """A recipe made ready for the few.

    Attributes:
        scales: the scales under which weights are needed, one after another, the last one to draw; None for 1.
        num_wanted: how many of the best to look at; 0 where they would not help.
    """

    cuts: tuple[Cut, ...]
    scales: tuple[Any, ...]
    keep_ties: bool
    exclusive: bool
    num_wanted: int


def method_of(recipe: Recipe) -> Method:
    """In float32, the precision in which the best are given."""
    scale: Any = None
    scales: list[Any] = []
    cuts = []
    for step, value in recipe.steps:
        if step == "temperature":
            scale = np.float32(value) if scale is None else scale * np.float32(value)
            continue
        if step == "top_p" and (not scales or scales[-1] is not scale):
            scales.append(scale)
        distance = -math.log(value) / (1.0 if scale is None else float(scale)) if step == "min_p" else value
        cuts.append(Cut(step, distance, len(scales) - 1))
    if not scales or scales[-1] is not scale:
        scales.append(scale)
    wanted = 0
    if cuts:
        count = cuts[0].value + recipe.keep_ties if cuts[0].step == "top_k" else ENOUGH
        wanted = int(count) if count <= MOST else 0
    return Method(tuple(cuts), tuple(scales), recipe.keep_ties, recipe.exclusive, wanted)


class Weigher:
    """Weighs the best tokens of all rows at once. It is called when caches are cold, so each call of NumPy counts."""

    def __init__(self, methods: Sequence[Method]) -> None:
        num_stages = max(len(method.scales) for method in methods)
        padded = [(*method.scales, *[None] * (num_stages - len(method.scales))) for method in methods]
        # a number times one is that number
        ones = [[np.float32(1.0) if scale is None else scale for scale in scales] for scales in zip(*padded, strict=True)]
        self._scales = [np.array(stage, np.float32)[:, None] for stage in ones]

    def weights(self, logits: Host, values: Sequence[Sequence[float]]) -> list[list[list[float]]] | None:
        """For each stage and row those of its best `logits` [B, K], as lists `values`; None if these must be repaired first."""
        if not all(abs(row[0]) < _FAR for row in values):
            return None
        if not all(row[-1] > -_FAR for row in values):
            logits = np.maximum(logits, -_FAR)
        depths = logits - logits[:, :1]
        weights = []
        for scale in self._scales:
            scaled = depths * scale
            weights.append(np.exp(scaled, out=scaled).tolist())
        return weights


class Few(NamedTuple):
    """The best tokens of a row, likeliest first, of equals the lowest id first.

    Attributes:
        weights: theirs, under each of the method's scales.
        total: gives the sum of all weights of the row under a scale, as `Rows.total`.
    """

    tokens: list[int]
    logits: list[float]
    weights: list[list[float]]
    total: Callable[[Any], float]

    def draw(self, method: Method, uniform: float) -> int | None:
        """The token on which `uniform` falls; None if these few do not tell."""
        left = len(self.logits)
        are_all = False
        if self.logits[-1] <= -_FAR:
            left = bisect_left(self.logits, _FAR, key=neg)
            are_all = self.logits[left] == -math.inf  # what is out already is not there, so the others are
            if not are_all:
                return None
        for i, cut in enumerate(method.cuts):
            count = self._num_left(cut, left, method, i == 0)
            is_exact = cut.step == "top_k" and not method.keep_ties
            if i == 0 and not (are_all or count < left or (is_exact and count == left)):
                return None
            left = min(left, count)
        by_id = sorted(zip(self.tokens[:left], self.weights[len(method.scales) - 1][:left], strict=True))
        running = list(accumulate([weight for _, weight in by_id]))
        return by_id[bisect_right(running, min(uniform * running[-1], running[-1] * BELOW_ONE))][0]

    def _num_left(self, cut: Cut, left: int, method: Method, is_first: bool) -> int:
        if cut.step == "min_p":
            floor = float(np.float32(self.logits[0] - cut.value))
            return bisect_right(self.logits, -floor, 0, left, key=neg)
        if cut.step == "top_k":
            count = min(int(cut.value), left)
            if method.keep_ties:
                return bisect_right(self.logits, -self.logits[count - 1], 0, left, key=neg)
            return count
        running = list(accumulate(self.weights[cut.stage][:left]))
        limit = cut.value * (self.total(method.scales[cut.stage]) if is_first else running[-1])
        if math.isnan(limit):
            return left
        return max(1, bisect_right(running, limit)) if method.exclusive else 1 + bisect_left(running, limit)
