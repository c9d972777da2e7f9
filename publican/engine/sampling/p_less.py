"""p_less (Tan et al. 2025): keeps p ≥ Σp², the chance that two draws agree. The small slack keeps a uniform row whole."""

from __future__ import annotations

import math

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows

_SLACK = 1e-5


class PLess:
    steps = ("p_less",)

    def __init__(self) -> None:
        self._off = Column(math.inf)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._off.set(row, 0.0 if "p_less" in stack else math.inf)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        agreement = rows.sum(rows.weights, rows.weights) / rows.total**2
        least = agreement - _SLACK - batch.take(self._off)
        rows.keep_probability(rows.xp.maximum(least, rows.xp.zeros_like(least)))
