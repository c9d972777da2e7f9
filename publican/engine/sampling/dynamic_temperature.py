"""Dynamic temperature: the less sure the model is, the higher T.

T = low + (high - low) · (H / ln n)^exponent, H the entropy and n the number of tokens still in (KoboldCpp, llama.cpp).
Entropy and bounds are read from the row alone, however it is batched.
"""

from __future__ import annotations

from publican.core.sampling import GREEDY_BELOW, SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.temperature import LEAST_FACTOR


class DynamicTemperature:
    steps = ("dynamic_temperature",)

    def __init__(self) -> None:
        self._low = Column(1.0)
        self._high = Column(1.0)
        self._exponent = Column(1.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        bounds = params.dynatemp_bounds if "dynamic_temperature" in stack else None
        low, high = bounds or (1.0, 1.0)
        self._low.set(row, low)
        self._high.set(row, high)
        self._exponent.set(row, params.dynatemp_exponent)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        xp = rows.xp
        low, high = batch.take(self._low), batch.take(self._high)
        left = xp.astype(rows.num_left(), low.dtype)
        zero, one = xp.zeros_like(low), xp.ones_like(low)
        most = xp.log(xp.where(left > 1.5, left, one + one))
        share = xp.minimum(xp.maximum(rows.entropy() / most, zero), one)
        temperature = low + (high - low) * share ** batch.take(self._exponent)
        temperature = xp.where(left > 1.5, temperature, one)
        frozen = temperature <= GREEDY_BELOW
        if bool(xp.any(frozen)):
            rows.keep_first(frozen)
            temperature = xp.where(frozen, one, temperature)
        rows.rescale(xp.astype(one / xp.minimum(temperature, one / LEAST_FACTOR), rows.logits.dtype))
