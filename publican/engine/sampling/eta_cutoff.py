"""eta_cutoff (Hewitt et al. 2022): keeps p ≥ min(ε, √ε · e^-H), H the entropy in nats, and the likeliest."""

from __future__ import annotations

import math

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows


class EtaCutoff:
    steps = ("eta_cutoff",)

    def __init__(self) -> None:
        self._epsilon = Column(0.0)
        self._root = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        epsilon = params.eta_cutoff if "eta_cutoff" in stack else 0.0
        self._epsilon.set(row, epsilon)
        self._root.set(row, math.sqrt(epsilon))

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        bound = batch.take(self._root) * rows.xp.exp(-rows.entropy())
        rows.keep_probability(rows.xp.minimum(batch.take(self._epsilon), bound))
