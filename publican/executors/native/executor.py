"""`NativeExecutor`: plans in, page tables and batches in between, a backend underneath."""

from __future__ import annotations

import numpy as np

from publican.core.errors import EngineError
from publican.core.executor import ExecutorInfo, StepResult, Top
from publican.core.step import StepPlan
from publican.executors.native.batch import Backend, make_batch
from publican.executors.page_table import PageTables


class NativeExecutor:
    """Follows `core.executor.Executor` for any backend.

    Attributes:
        top: the backend's own, where it has one.
    """

    def __init__(self, info: ExecutorInfo, backend: Backend) -> None:
        self.info = info
        self.top: Top | None = backend.top
        self._tables = PageTables(info)
        self._backend = backend

    def execute(self, plan: StepPlan) -> StepResult:
        for source, target, is_windowed in self._tables.apply(plan):
            self._backend.copy_page(source, target, is_windowed)
        if not plan.rows:
            return StepResult(np.empty((0, self.info.vocab_size), np.float32))
        try:
            logits, hidden = self._backend.run(make_batch(plan, self._tables))
        except MemoryError as error:
            raise EngineError("The memory did not suffice for a step; load the model with a shorter context.") from error
        return StepResult(logits, hidden)

    def close(self) -> None:
        self._backend.close()
