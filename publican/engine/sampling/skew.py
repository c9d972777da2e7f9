"""Skew (turboderp): with c the running sum of the final probabilities, likeliest first, c ← c^(e^skew), and differences back.

Above 0 it favours the less likely, below 0 the top; the same as drawing with u^(e^-skew) from the sorted distribution.
"""

from __future__ import annotations

import math

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows


class Skew:
    steps = ("skew",)

    def __init__(self) -> None:
        self._exponent = Column(1.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._exponent.set(row, math.exp(params.skew) if "skew" in stack else 1.0)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        xp = rows.xp
        rows.settle()
        order = xp.argsort(-rows.logits, axis=-1, stable=True)
        weights = xp.astype(xp.take_along_axis(rows.weights, order, axis=-1), xp.float64)
        running = rows.space.running(weights)
        exponent = batch.take(self._exponent)
        # c_i^x - c_{i-1}^x, as c_i^x · (1 - (c_{i-1} / c_i)^x), so that the tail does not drown in rounding
        share = xp.minimum(weights / running, xp.asarray(1.0 - 2.0**-53, dtype=xp.float64, device=rows.space.device))
        parts = -xp.expm1(exponent * xp.log1p(-share))
        parts = xp.concat((xp.ones_like(parts[:, :1]), parts[:, 1:]), axis=-1)
        some = parts > 0.0
        logits = exponent * xp.log(running / running[:, -1:]) + xp.log(xp.where(some, parts, xp.ones_like(parts)))
        logits = xp.where(some, logits, -xp.inf)
        logits = xp.take_along_axis(logits, xp.argsort(order, axis=-1, stable=True), axis=-1)
        rows.replace(xp.where(exponent == 1.0, rows.logits, xp.astype(logits, rows.logits.dtype)))
