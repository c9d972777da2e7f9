"""min_p (Nguyen et al. 2024): keeps p ≥ m · p₁, that is, logits within -ln m of the highest. Also adaptive-p's floor."""

from __future__ import annotations

import math

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.stack import ADAPTIVE_FLOOR, ADAPTIVE_FLOOR_MIN_P


class MinP:
    steps = ("min_p",)

    def __init__(self) -> None:
        self._distance = Column(math.inf)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._distance.set(row, -math.log(params.min_p) if "min_p" in stack else math.inf)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        rows.keep_within(batch.take(self._distance))


class AdaptiveFloor:
    steps = (ADAPTIVE_FLOOR,)

    def __init__(self) -> None:
        self._distance = Column(math.inf)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._distance.set(row, -math.log(ADAPTIVE_FLOOR_MIN_P) if ADAPTIVE_FLOOR in stack else math.inf)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        rows.keep_within(batch.take(self._distance))
