"""XTC, "exclude top choices" (p-e-w): of the tokens at least as likely as the threshold, all but the least likely go.

Each step rolls whether it acts. Tokens that must stay reachable (line ends, special tokens) can be kept out of it, as ExLlamaV3
does, or call it off, as ooba does. ExLlamaV3 mixes the two outcomes instead of rolling ("expectation").
"""

from __future__ import annotations

import math

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Array
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rng import Purpose
from publican.engine.sampling.rows import Picked, Rows

_NEVER = 2.0


class Xtc:
    steps = ("xtc",)

    def __init__(self) -> None:
        self._probability = Column(0.0)
        self._threshold = Column(_NEVER)
        self._mixes = Column(0.0)
        self._excludes = Column(0.0)
        self._aborts = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        on = "xtc" in stack
        self._probability.set(row, params.xtc_probability if on else 0.0)
        self._threshold.set(row, max(params.xtc_threshold, 1e-9) if on else _NEVER)
        self._mixes.set(row, params.xtc_rule == "expectation")
        self._excludes.set(row, params.xtc_protect == "exclude")
        self._aborts.set(row, params.xtc_protect == "abort")

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        acts = batch.uniform_host(Purpose.XTC) < self._probability.take(batch.rows)
        acts |= self._mixes.take(batch.rows) > 0.5
        if not acts.any():
            return
        xp = rows.xp
        least = xp.where(rows.space.put(acts), batch.take(self._threshold) * rows.total, xp.inf)
        picked = rows.gather(rows.weights >= xp.astype(least, rows.weights.dtype))
        if picked.places.shape[1] < 2:
            return
        going = self._going(rows, batch, picked)
        places = picked.places[going]
        if not places.shape[0]:
            return
        which = places // rows.num_columns
        columns = places - which * rows.num_columns
        mixes = batch.take(self._mixes)
        if not batch.keep("xtc mixes", lambda: bool(xp.any(mixes > 0.5))):
            rows.remove(which, columns)
            return
        factor = xp.where(mixes > 0.5, self._mixed(rows, batch, which, columns), -xp.inf)
        added = xp.astype(rows.space.at(factor, which), rows.logits.dtype)
        rows.set(which, columns, rows.at(which, columns) + added)

    def _going(self, rows: Rows, batch: Batch, picked: Picked) -> Array:
        """Which of the picked go: bool [B, K]."""
        xp = rows.xp
        candidate = (
            xp.ones(picked.places.shape, dtype=xp.bool, device=rows.space.device) if picked.inside is None else picked.inside
        )
        protected = self._protected(rows, batch, picked, self._excludes, "protected")
        if protected is not None:
            candidate = candidate & ~protected
        logits = xp.where(candidate, rows.values_at(picked, rows.logits, -xp.inf), xp.inf)
        places = xp.reshape(xp.arange(candidate.shape[1], dtype=xp.int64, device=rows.space.device), (1, -1))
        is_least = candidate & (logits == xp.min(logits, axis=-1, keepdims=True))
        survivor = xp.max(xp.where(is_least, places, xp.full_like(places, -1)), axis=-1, keepdims=True)
        going = candidate & (places != survivor)
        calling_off = self._protected(rows, batch, picked, self._aborts, "newline_or_end")
        if calling_off is not None:
            going = going & ~xp.any(calling_off & going, axis=-1, keepdims=True)
        if rows.min_keep is not None:
            going = going & (rows.num_left() - rows.space.count(going) >= rows.min_keep)
        return going

    def _protected(self, rows: Rows, batch: Batch, picked: Picked, column: Column, fact: str) -> Array | None:
        """Which of the picked are among the tokens of `fact`, in rows where `column` is set; None if that matters to no row."""
        asks = batch.take(column) > 0.5
        tokens = getattr(batch.facts, fact)
        if not tokens or not batch.keep(f"xtc {fact} asked", lambda: bool(rows.xp.any(asks))):
            return None
        table = batch.keep(f"xtc {fact} table", lambda: rows.space.put(np.isin(np.arange(rows.num_vocab), list(tokens))))
        ids = rows.tokens if rows.tokens is not None else None
        if ids is None:
            which = picked.places % rows.num_columns
        else:
            which = rows.xp.minimum(rows.values_at(picked, ids, 0), rows.xp.full_like(picked.places, rows.num_vocab - 1))
        found = rows.space.at(table, rows.xp.reshape(which, (-1,)))
        return rows.xp.reshape(found, which.shape) & asks

    def _mixed(self, rows: Rows, batch: Batch, which: Array, columns: Array) -> Array:
        """By how much the logits of those that go fall, against the others, when the two outcomes are mixed: [B, 1]."""
        xp = rows.xp
        gone = xp.zeros(rows.weights.shape, dtype=xp.bool, device=rows.space.device)
        rows.space.scatter(gone, which, columns, xp.ones(which.shape[0], dtype=xp.bool, device=rows.space.device))
        mass = rows.sum(xp.where(gone, rows.weights, xp.zeros_like(rows.weights))) / rows.total
        chance = batch.take(self._probability)
        ratio = (1.0 - chance) / (1.0 + chance * mass / xp.maximum(1.0 - mass, xp.full_like(mass, 1e-12)))
        some = ratio > 0.0
        return xp.where(some, xp.log(xp.where(some, ratio, xp.ones_like(ratio))), -math.inf)
