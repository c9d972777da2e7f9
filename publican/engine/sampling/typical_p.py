"""typical_p (Meister et al. 2022): the tokens whose surprise is nearest to the entropy, until they weigh enough together.

Sorted by |-ln p - H|, the token that crosses the limit stays, and so do its equals; "strict" (llama.cpp, KoboldCpp) goes on
until the limit is exceeded and keeps no equals, "exclusive" (aphrodite) drops the token that crosses.
"""

from __future__ import annotations

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Array
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows

_ALL = 2.0
_RULES = {"ties": 0.0, "strict": 1.0, "exclusive": 2.0}


class TypicalP:
    steps = ("typical_p",)

    def __init__(self) -> None:
        self._share = Column(_ALL)
        self._rule = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._share.set(row, params.typical_p if "typical_p" in stack else _ALL)
        self._rule.set(row, _RULES[params.typical_rule])

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        xp = rows.xp
        share = batch.take(self._share)
        entropy, total = rows.entropy(), rows.total
        limit = share * total
        if rows.tokens is None:
            _cut(rows, limit, entropy, total)
        strange = _strangeness(rows, entropy, total)
        rule = batch.take(self._rule)
        with_equals_only = batch.keep("typical_p rule", lambda: bool(xp.all(rule == _RULES["ties"])))
        # among equals the order does not matter as long as all of them stay
        by_strangeness = xp.argsort(strange, axis=-1, stable=not with_equals_only)
        ordered = xp.take_along_axis(strange, by_strangeness, axis=-1)
        running = rows.space.running(xp.take_along_axis(rows.weights, by_strangeness, axis=-1))
        last = rows.space.count(xp.where(rule == _RULES["strict"], running <= limit, running < limit))
        last = xp.minimum(last, xp.full_like(last, rows.num_columns - 1))
        if rows.min_keep is not None:
            last = xp.maximum(last, xp.minimum(rows.min_keep, xp.full_like(last, rows.num_columns)) - 1)
        keep = strange <= xp.take_along_axis(ordered, last, axis=-1)
        if not with_equals_only:
            rank = xp.argsort(by_strangeness, axis=-1, stable=True)
            exclusive = rank < xp.maximum(last, xp.ones_like(last))
            keep = xp.where(rule == _RULES["ties"], keep, xp.where(rule == _RULES["strict"], rank <= last, exclusive))
        rows.keep((keep | (share > 1.0)) & (rows.logits > -xp.inf), has_peak=False)


def _strangeness(rows: Rows, entropy: Array, total: Array) -> Array:
    """|-ln p - H| of each token, infinite where it is out."""
    surprise = rows.xp.log(total) - entropy - rows.xp.astype(rows.depths, rows.xp.float64)
    return rows.xp.abs(surprise)


def _cut(rows: Rows, limit: Array, entropy: Array, total: Array) -> None:
    """Leave out the unlikely, where that is sure to change nothing.

    A token below a weight w is stranger than ln(total / w) - H. If all that weigh more are no stranger than that, they come
    first in order of strangeness; the strangest of them can only be the likeliest, at H - ln total. And if they weigh `limit`
    together, whatever stays is among them.
    """
    xp = rows.xp
    flat, floor = rows.heaviest(limit)
    low_enough = xp.astype(xp.exp(2.0 * (xp.log(total) - entropy) - 1e-4), floor.dtype)
    if bool(xp.any(low_enough < floor)):
        flat = rows.passes.above(rows.weights, xp.minimum(floor, low_enough))
    rows.take_flat(flat)
