"""top_n_sigma (Tang et al. 2024): keeps logits within n standard deviations of the highest.

The deviation is taken over the tokens still in, dividing by their number (ooba and aphrodite divide by one less).
"""

from __future__ import annotations

import math

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows


class TopNSigma:
    steps = ("top_n_sigma",)

    def __init__(self) -> None:
        self._num_sigmas = Column(math.inf)
        self._less = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._num_sigmas.set(row, params.top_n_sigma if "top_n_sigma" in stack else math.inf)
        self._less.set(row, params.top_n_sigma_sample)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        xp = rows.xp
        depths = rows.depths
        zero = xp.zeros_like(rows.peak)
        left = xp.astype(rows.num_left(), xp.float64)
        is_in = rows.logits > -xp.inf
        mean = rows.sum(xp.where(is_in, depths, zero)) / left
        off = xp.where(is_in, depths - xp.astype(mean, depths.dtype), zero)
        variance = rows.sum(off * off) / xp.maximum(left - batch.take(self._less), xp.ones_like(left))
        distance = batch.take(self._num_sigmas) * xp.sqrt(variance)
        # all equal: a deviation of 0 times infinity is not a number, and nothing has to go
        rows.keep_within(xp.where(xp.isnan(distance), xp.full_like(distance, xp.inf), distance))
