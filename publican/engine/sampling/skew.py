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
        running = rows.space.running(xp.take_along_axis(rows.weights, order, axis=-1))
        exponent = batch.take(self._exponent)
        bent = (running / running[:, -1:]) ** exponent
        parts = bent - xp.concat((xp.zeros_like(bent[:, :1]), bent[:, :-1]), axis=-1)
        some = parts > 0.0
        logits = xp.where(some, xp.log(xp.where(some, parts, xp.ones_like(parts))), -xp.inf)
        logits = xp.take_along_axis(logits, xp.argsort(order, axis=-1, stable=True), axis=-1)
        rows.replace(xp.where(exponent == 1.0, rows.logits, xp.astype(logits, rows.logits.dtype)))
