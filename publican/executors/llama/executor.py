"""`LlamaExecutor`: plans in, libllama's sequence operations and one ``llama_decode`` out.

It makes sure of everything that libllama would abort the process for. Engine thread only; the GIL is released while
libllama computes.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import EngineError, OutOfMemory, PublicanError
from publican.core.executor import ExecutorInfo, StepResult
from publican.core.step import Free, MemoryOp, Row, Share, StepPlan, Truncate
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
        self._slots.settle(lengths)
        if plan.num_hidden:
            before = lengths.copy()
            try:
                return self._with_states(plan)
            except OutOfMemory:
                self._take_back(plan, before)
                raise
        if plan.rows:
            self._decode(plan)
        return StepResult(self._logits(plan.num_logits))

    def _decode(self, plan: StepPlan) -> None:
        """Compute what the batch was filled with, the rows of `plan`. Raises OutOfMemory, EngineError."""
        library_log(self._session.library).forget()
        code = self._session.decode(self._batch.struct)
        if code != _OK:
            raise self._error(code, plan)
        self._slots.computed(plan)

    def _with_states(self, plan: StepPlan) -> StepResult:
        """What `plan` wants, where hidden states are among it: the rows that want none first, and then each of the others."""
        others = StepPlan(tuple(row for row in plan.rows if not row.num_hidden))
        logits = self._no_logits
        if others.rows:
            self._batch.fill(others)
            self._decode(others)
            logits = self._logits(others.num_logits)
        logits = logits.copy()  # the next batch writes over it
        rest = iter(np.split(logits, np.cumsum([row.num_logits for row in others.rows])))
        given: list[NDArray[np.float32]] = []
        states: list[NDArray[np.float32]] = []
        self._session.give_states(True)
        try:
            for row in plan.rows:
                if row.num_hidden:
                    all_logits, all_states = self._read(row)
                    given.append(all_logits)
                    states.append(all_states)
                else:
                    given.append(next(rest))
        finally:
            self._session.give_states(False)
        return StepResult(np.concatenate(given), np.concatenate(states))

    def _take_back(self, plan: StepPlan, lengths: list[int]) -> None:
        """Some rows of `plan` were computed before there was no room for the next: whoever plans takes none for computed."""
        for row in plan.rows:
            self._follow(Truncate(row.slot, row.start))
        self._slots.settle(lengths)

    def _read(self, row: Row) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The logits and states that `row` wants. Beside each state libllama computes the logits, wanted or not, and there
        is room for `max_logits` of them: so the row comes in pieces."""
        length = len(row.tokens)
        logits = np.empty((row.num_logits, self.info.vocab_size), np.float32)
        states = np.empty((row.num_hidden, self.info.hidden_size), np.float32)
        for begin in range(0, length, self.info.max_logits):
            tokens = row.tokens[begin : begin + self.info.max_logits]
            piece = StepPlan((replace(row, tokens=tokens, start=row.start + begin, num_logits=len(tokens)),))
            self._batch.fill(piece)
            self._decode(piece)
            end = begin + len(tokens)
            for wanted, read in ((logits, self._logits), (states, self._last_states)):
                first = max(begin, length - len(wanted))
                if first < end:
                    wanted[first - (length - len(wanted)) : end - (length - len(wanted))] = read(len(tokens))[first - begin :]
        return logits, states

    def _last_states(self, num_rows: int) -> NDArray[np.float32]:
        buffer = (ctypes.c_float * (num_rows * self.info.hidden_size)).from_address(self._session.states_address())
        return np.ctypeslib.as_array(buffer).reshape(num_rows, self.info.hidden_size)

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
