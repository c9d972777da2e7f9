"""Quadratic sampling ("smoothing"): with d = logit - max, max - k·f·d² + s·f·d³, k = (3 - curve) / 2, s = (curve - 1) / 2.

kalomaze's formula. It never changes the order for curves between 1 and 3, which is their range.
"""

from __future__ import annotations

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows


class Quadratic:
    steps = ("quadratic_sampling",)

    def __init__(self) -> None:
        self._square = Column(0.0)
        self._cube = Column(0.0)
        self._is_on = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        on = "quadratic_sampling" in stack
        self._is_on.set(row, on)
        self._square.set(row, on * params.smoothing_factor * (3.0 - params.smoothing_curve) / 2.0)
        self._cube.set(row, on * params.smoothing_factor * (params.smoothing_curve - 1.0) / 2.0)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        xp = rows.xp
        dtype = rows.logits.dtype
        rows.settle()
        # d³ overflows where d² has long decided
        depth = xp.maximum(rows.depths, xp.asarray(-1e12, dtype=dtype))
        bent = rows.peak + depth * depth * (batch.take(self._cube, dtype) * depth - batch.take(self._square, dtype))
        on = batch.take(self._is_on) > 0.5
        if not batch.keep("quadratic everywhere", lambda: bool(xp.all(on))) or bool(xp.any(rows.num_left() < rows.num_columns)):
            bent = xp.where(on & (rows.logits > -xp.inf), bent, rows.logits)
        rows.replace(bent)
