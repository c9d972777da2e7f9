"""epsilon_cutoff (Hewitt et al. 2022): keeps p ≥ ε, and the likeliest."""

from __future__ import annotations

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows


class EpsilonCutoff:
    steps = ("epsilon_cutoff",)

    def __init__(self) -> None:
        self._epsilon = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._epsilon.set(row, params.epsilon_cutoff if "epsilon_cutoff" in stack else 0.0)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        rows.keep_probability(batch.take(self._epsilon))
