"""Temperature: logits divided by T. Greedy rows (T = 0) never come here."""

from __future__ import annotations

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows

LEAST_FACTOR = 1e-30
"""So that float32 does not round it to 0, which would make nothing of -inf."""


def factor_of(params: SamplingParams) -> float:
    """What logits are multiplied by."""
    return max(1.0 / params.temperature, LEAST_FACTOR)


class Temperature:
    steps = ("temperature",)

    def __init__(self) -> None:
        self._factor = Column(1.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._factor.set(row, factor_of(params) if "temperature" in stack else 1.0)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        rows.rescale(batch.take(self._factor, rows.logits.dtype))
