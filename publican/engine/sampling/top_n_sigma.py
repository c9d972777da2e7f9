"""top_n_sigma (Tang et al. 2024): keeps logits within n standard deviations of the highest.

The deviation is taken over the tokens still in, dividing by their number (ooba and aphrodite divide by one less).
"""

from __future__ import annotations

import math

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Array
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
        in_reach = depths > -xp.inf
        count = rows.space.count(in_reach)
        left = xp.astype(count, xp.float64)
        is_in = None if bool(xp.all(count == rows.num_columns)) else in_reach
        mean = rows.sum(_or_zero(rows, depths, is_in)) / left
        off = _or_zero(rows, depths - xp.astype(mean, depths.dtype), is_in)
        variance = rows.sum(off, off) / xp.maximum(left - batch.take(self._less), xp.ones_like(left))
        sigma = xp.sqrt(variance)
        some = sigma > 0.0  # all equal: 0 times infinity is no number, and nothing has to go
        rows.keep_within(xp.where(some, batch.take(self._num_sigmas) * xp.where(some, sigma, xp.ones_like(sigma)), xp.inf))


def _or_zero(rows: Rows, values: Array, is_in: Array | None) -> Array:
    return values if is_in is None else rows.xp.where(is_in, values, rows.xp.zeros_like(rows.peak))
