"""top_p ("nucleus", Holtzman et al. 2019): a token stays if those before it weigh less than p; so the one that crosses p stays.

ExLlamaV3 drops that one (`top_p_exclusive`). The likeliest token always stays.
"""

from __future__ import annotations

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows

_ALL = 2.0


class TopP:
    steps = ("top_p",)

    def __init__(self) -> None:
        self._share = Column(_ALL)
        self._exclusive = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._share.set(row, params.top_p if "top_p" in stack else _ALL)
        self._exclusive.set(row, params.top_p_exclusive)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        xp = rows.xp
        if rows.tokens is None:
            limit = batch.take(self._share) * rows.total
            rows.take_flat(rows.heaviest(limit).flat)
            running = rows.space.running(rows.descending_weights())
        else:
            running = rows.space.running(rows.descending_weights())
            limit = batch.take(self._share) * running[:, -1:]
        count = 1 + rows.space.count(running < limit)
        exclusive = batch.take(self._exclusive) > 0.5
        if batch.keep("top_p exclusive", lambda: bool(xp.any(exclusive))):
            count = xp.where(exclusive, xp.maximum(rows.space.count(running <= limit), xp.ones_like(count)), count)
        rows.keep_best(count)
