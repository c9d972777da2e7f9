"""top_k: the k likeliest tokens, exactly k of them; or, for dialects that want it, all that equal the kth."""

from __future__ import annotations

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows

_ALL = 2**31 - 1


class TopK:
    steps = ("top_k",)

    def __init__(self) -> None:
        self._count = Column(_ALL, np.int64)
        self._keep_ties = Column(0, np.int64)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._count.set(row, params.top_k if "top_k" in stack else _ALL)
        self._keep_ties.set(row, params.top_k_keep_ties)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        most = batch.keep("top_k most", lambda: int(self._count.take(batch.rows).max()))
        rows.keep_best(batch.take(self._count), batch.take(self._keep_ties) != 0, most)
