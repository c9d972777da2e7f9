"""A prompt becomes a vector, and no token follows it. Its states are pooled step by step, beside whatever else runs."""

from __future__ import annotations

from collections.abc import Mapping

from publican.core.errors import EngineError
from publican.core.executor import Array
from publican.core.model import Pooling
from publican.engine.sampling.pooling import Pool
from publican.engine.search.search import Tools
from publican.engine.sequence import Group
from publican.engine.sequence import Sequence as Running


class PooledPrompt:
    """Follows `Search`, of which it is the smallest: it has the group's one sequence, and ends with its prompt."""

    hidden_wanted = True
    reads_prompt = True
    writes = False

    def __init__(self, group: Group, tools: Tools, pooling: Pooling) -> None:
        self._group = group
        self._tools = tools
        self._pool = Pool(pooling)

    def saw(self, sequence: Running, states: Array) -> None:
        if sequence.num_computed == 0:  # for the first time, or again because it was put back
            self._pool.forget()
        self._pool.add(states)

    def advance(self, logits: Array, rows: Mapping[Running, int]) -> None:
        vector = self._pool.vector()
        self._drop()
        if vector is None:
            error = EngineError(
                "The model gave numbers for this text that are none; load it with another loader, or unquantised."
            )
            self._tools.outbox.failed(self._group.job.id, error)
        else:
            self._tools.outbox.embedded(self._group, vector)

    def stop(self) -> None:
        self._drop()
        self._tools.outbox.failed(self._group.job.id, EngineError("The request was stopped before its text was read."))

    def _drop(self) -> None:
        for sequence in tuple(self._group.sequences):
            self._tools.drop(sequence)
