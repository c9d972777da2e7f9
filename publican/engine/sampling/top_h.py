"""top_h (Potraghloo et al. 2025): of the hundred likeliest, the first that together hold a share h of their entropy."""

from __future__ import annotations

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows

_POOL = 100
_OFF = 2.0


class TopH:
    steps = ("top_h",)

    def __init__(self) -> None:
        self._share = Column(_OFF)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._share.set(row, params.top_h if "top_h" in stack else _OFF)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        xp = rows.xp
        share = batch.take(self._share)
        depths = xp.astype(rows.best(_POOL), xp.float64)
        depths = depths - depths[:, :1]
        weights = xp.exp(depths)
        shares = weights / xp.sum(weights, axis=-1, keepdims=True)
        some = shares > 0.0
        parts = xp.where(some, -shares * xp.log(xp.where(some, shares, xp.ones_like(shares))), xp.zeros_like(shares))
        running = rows.space.running(parts)
        count = rows.space.count((running <= share * running[:, -1:]) & some)
        count = xp.maximum(count, xp.ones_like(count))
        rows.keep_best(xp.where(share >= 1.0, xp.full_like(count, rows.num_vocab), count))
