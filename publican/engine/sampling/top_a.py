"""top_a (BlinkDL): keeps p ≥ a · p₁². With weights that have 1 at the top that is weight ≥ a / total."""

from __future__ import annotations

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows


class TopA:
    steps = ("top_a",)

    def __init__(self) -> None:
        self._share = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._share.set(row, params.top_a if "top_a" in stack else 0.0)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        rows.keep_probability(batch.take(self._share) / rows.total**2)
