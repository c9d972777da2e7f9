"""`LlamaExecutor`: plans in, libllama's sequence operations and one ``llama_decode`` out.

It makes sure of everything that libllama would abort the process for. Engine thread only; the GIL is released while
libllama computes.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import EngineError, OutOfMemory, PublicanError
from publican.core.executor import ExecutorInfo, StepResult
from publican.core.step import Free, MemoryOp, Share, StepPlan, Truncate
from publican.executors.llama.batch import Batch
from publican.executors.llama.log import library_log
from publican.executors.llama.session import Session
from publican.executors.llama.slots import SlotLengths

_OK, _NO_CELLS = 0, 1


class LlamaExecutor:
    """Follows `core.executor.Executor`, with `Cells`. `load` makes one."""

    top = None

    def __init__(self, session: Session, info: ExecutorInfo) -> None:
        self.info = info
        self._session = session
        self._slots = SlotLengths(info)
        self._batch = Batch(session.library, info, session.has_shadows)
        self._no_logits = np.empty((0, info.vocab_size), np.float32)

    def execute(self, plan: StepPlan) -> StepResult:
        """The logits are libllama's own buffer, not a copy: they are gone with the next `execute` and with `close`."""
        if not self._session.context:
            raise EngineError("The model was unloaded.")
        lengths = self._slots.check(plan)
        if plan.rows:
            self._batch.fill(plan)
        for op in plan.ops:
            self._follow(op)
        if not plan.rows:
            self._slots.settle(lengths)
            return StepResult(self._no_logits)
        library_log(self._session.library).forget()
        code = self._session.decode(self._batch.struct)
        if code != _OK:
            self._slots.settle(lengths)
            raise self._error(code, plan)
        self._slots.settle(lengths, plan)
        return StepResult(self._logits(plan.num_logits))

    def _follow(self, op: MemoryOp) -> None:
        done = True
        for first in (0, self.info.num_slots) if self._session.has_shadows else (0,):
            match op:
                case Share(source, target, num_tokens):
                    self._session.share(first + source, first + target, num_tokens)
                case Truncate(slot, num_tokens):
                    done &= self._session.truncate(first + slot, num_tokens)
                case Free(slot):
                    done &= self._session.truncate(first + slot, 0)
        if not done:
            raise EngineError(f"libllama did not follow {op}.")

    def _error(self, code: int, plan: StepPlan) -> PublicanError:
        if code == _NO_CELLS:
            return OutOfMemory(f"libllama has no room for {plan.num_tokens:,} more tokens.")
        reason = library_log(self._session.library).reason()
        return EngineError(f"libllama could not compute this step (code {code}): {reason}.")

    def _logits(self, num_rows: int) -> NDArray[np.float32]:
        if not num_rows:
            return self._no_logits
        size = num_rows * self.info.vocab_size
        buffer = (ctypes.c_float * size).from_address(self._session.logits_address())
        return np.ctypeslib.as_array(buffer).reshape(num_rows, self.info.vocab_size)

    def close(self) -> None:
        self._session.close()
