"""Adaptive-p (llama.cpp PR 17927): favours tokens whose probability is near a target that makes up for those already drawn.

With a = clamp(2 t - (mean probability of the tokens drawn), 0, 1) and δ = |p - a| / 0.3, the logit is 5 - 10 δ² / (1 + δ).
The mean is weighted, a token's weight falling by `adaptive_decay` with each token after it, and counts the probability before
this step.
"""

from __future__ import annotations

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Array
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.draw import Drawn
from publican.engine.sampling.feedback import Trail
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.state import RowState

WIDTH = 0.3
PEAK = 5.0
SHARPNESS = 10.0


class AdaptiveP:
    steps = ("adaptive_p",)

    def __init__(self) -> None:
        self._is_on = Column(0.0)
        self._before: Array = None

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._is_on.set(row, "adaptive_p" in stack)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        xp = rows.xp
        rows.settle()
        on = batch.take(self._is_on) > 0.5
        aims = np.array(
            [[_aim(state) if is_on else 0.0] for state, is_on in zip(batch.states, self._is_on_host(batch), strict=True)]
        )
        self._before = xp.astype(rows.weights, xp.float64) / rows.total
        delta = xp.abs(self._before - rows.space.put(aims)) / WIDTH
        logits = xp.astype(PEAK - SHARPNESS * delta * delta / (1.0 + delta), rows.logits.dtype)
        rows.replace(xp.where(on & (rows.logits > -xp.inf), logits, rows.logits))

    def accept(self, rows: Rows, batch: Batch, drawn: Drawn) -> None:
        """Offer each row the sums that follow from its drawn token."""
        chances = rows.space.get(rows.space.pick(self._before, drawn.columns))
        tokens = rows.space.get(drawn.tokens)
        self._before = None
        for i in np.flatnonzero(self._is_on_host(batch)).tolist():
            state = batch.states[i]
            weighted, weight = _sums(state)
            decay = state.params.adaptive_decay
            sums = (float(chances[i, 0]) + decay * weighted, 1.0 + decay * weight)
            state.trails["adaptive_p"].offer(len(state.tokens), int(tokens[i, 0]), sums)

    def _is_on_host(self, batch: Batch) -> list[float]:
        on: list[float] = self._is_on.take(batch.rows)[:, 0].tolist()
        return on


def _sums(state: RowState) -> tuple[float, ...]:
    trail = state.trails.get("adaptive_p")
    if trail is None:
        rest = 1.0 - state.params.adaptive_decay
        trail = state.trails["adaptive_p"] = Trail(((state.params.adaptive_target or 0.0) / rest, 1.0 / rest))
    return trail.settle(state.tokens)


def _aim(state: RowState) -> float:
    weighted, weight = _sums(state)
    target = state.params.adaptive_target or 0.0
    return target if weight == 0.0 else min(max(2.0 * target - weighted / weight, 0.0), 1.0)
