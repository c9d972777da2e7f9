"""no_repeat_ngram (Hugging Face): no run of n tokens comes twice; the encoder's form looks for the runs in the prompt alone.

A token is banned if it once followed the last n - 1 tokens. One pass over the history per step, and nothing to remember.
"""

from __future__ import annotations

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Host
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.rows import Rows


class NoRepeatNgram:
    steps = ("no_repeat_ngram", "encoder_no_repeat_ngram")

    def __init__(self) -> None:
        self._size = Column(0, np.int64)
        self._encoder_size = Column(0, np.int64)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._size.set(row, params.no_repeat_ngram_size if "no_repeat_ngram" in stack else 0)
        self._encoder_size.set(row, params.encoder_no_repeat_ngram_size if "encoder_no_repeat_ngram" in stack else 0)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        if "no_repeat_ngram" in steps:
            self._ban(rows, batch, self._size, in_prompt=False)
        if "encoder_no_repeat_ngram" in steps:
            self._ban(rows, batch, self._encoder_size, in_prompt=True)

    def _ban(self, rows: Rows, batch: Batch, column: Column, in_prompt: bool) -> None:
        sizes = column.take(batch.rows)[:, 0]
        owners = np.flatnonzero(sizes).tolist()
        banned = []
        for i in owners:
            state = batch.states[i]
            text = state.synced()[:]
            source = text[: state.num_prompt] if in_prompt else text
            banned.append(continuations(source, text, int(sizes[i])))
        if any(len(tokens) for tokens in banned):
            put = rows.space.put
            rows.ban(put(np.repeat(owners, [len(tokens) for tokens in banned])), put(np.concatenate(banned)))


def continuations(source: Host, text: Host, size: int) -> Host:
    """The distinct tokens that follow, somewhere in `source`, the last `size` - 1 tokens of `text`."""
    prefix = text[len(text) - size + 1 :]
    if len(prefix) < size - 1 or len(source) < size:
        return np.zeros(0, dtype=np.int64)
    starts = np.arange(len(source) - size + 1)
    for offset in range(size - 1):
        starts = starts[source[starts + offset] == prefix[offset]]
    return np.unique(source[starts + size - 1])
