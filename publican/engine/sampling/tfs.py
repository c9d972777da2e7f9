"""Tail-free sampling (Trenton Bricken 2019): cuts where the sorted probabilities stop bending.

d₂(i) = |p_i - 2 p_{i+1} + p_{i+2}|, normalised and added up; a token stays while the sum is at most z. "Centred" counts one
token more than that, as ooba, KoboldAI and exllamav2 do; "legacy" is KoboldCpp's and older llama.cpp's, usually one fewer.
The second differences go over the whole tail, so there is nothing to leave out beforehand: first in a stack it sorts
everything.
"""

from __future__ import annotations

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows

_FLAT = 1e-6
_OFF = 2.0


class Tfs:
    steps = ("tfs",)

    def __init__(self) -> None:
        self._share = Column(_OFF)
        self._legacy = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._share.set(row, params.tfs if "tfs" in stack else _OFF)
        self._legacy.set(row, params.tfs_rule == "legacy")

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        if rows.num_columns < 3:
            return
        xp = rows.xp
        share = batch.take(self._share)
        left = rows.num_left()
        weights = rows.descending_weights() / xp.astype(rows.total, rows.logits.dtype)
        bends = xp.abs(weights[:, :-2] - 2.0 * weights[:, 1:-1] + weights[:, 2:])
        if bool(xp.any(left < rows.num_columns)):
            places = xp.reshape(xp.arange(bends.shape[1], dtype=xp.int64, device=rows.space.device), (1, -1))
            bends = xp.where(places < left - 2, bends, xp.zeros_like(bends))
        below, total = rows.num_adding_up(bends, share)
        even = xp.astype(xp.floor(share * xp.astype(left - 2, xp.float64)), xp.int64)
        below = xp.where(total > _FLAT, below, even)
        legacy = xp.where(left == 3, left, xp.maximum(below, xp.ones_like(below)))
        count = xp.where(batch.take(self._legacy) > 0.5, legacy, below + 1)
        off = (share >= 1.0) | (left <= 2)
        rows.keep_best(xp.where(off, xp.full_like(count, rows.num_vocab), count))
