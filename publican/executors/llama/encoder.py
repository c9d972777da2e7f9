"""`LlamaEncoder`: whole texts in, one ``llama_encode``, the hidden states of their tokens out. Engine thread only.

For models in which every token of a text looks at all of it (BERT and its kin). They have no memory: a slot is a place in the
batch, and operations on what slots hold have nothing to do.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np

from publican.core.errors import EngineError, PlanError
from publican.core.executor import ExecutorInfo, StepResult
from publican.core.step import StepPlan
from publican.executors.llama.batch import Batch
from publican.executors.llama.log import library_log
from publican.executors.llama.session import Session


class LlamaEncoder:
    """Follows `core.executor.Executor`, as an encoder. `load_encoder` makes one."""

    top = None

    def __init__(self, session: Session, info: ExecutorInfo) -> None:
        self.info = info
        self._session = session
        self._batch = Batch(session.library, info, has_shadows=False)
        self._no_logits = np.empty((0, info.vocab_size), np.float32)

    def execute(self, plan: StepPlan) -> StepResult:
        if not self._session.context:
            raise EngineError("The model was unloaded.")
        self._check(plan)
        if not plan.rows:
            return StepResult(self._no_logits)
        self._batch.fill(StepPlan(tuple(replace(row, num_logits=len(row.tokens)) for row in plan.rows)))
        library = self._session.library
        library_log(library).forget()
        code = self._session.encode(self._batch.struct)
        if code:
            raise EngineError(f"libllama could not compute this step (code {code}): {library_log(library).reason()}.")
        if not plan.num_hidden:
            return StepResult(self._no_logits)
        size = plan.num_tokens * self.info.hidden_size
        buffer = (ctypes.c_float * size).from_address(self._session.states_address())
        states = np.ctypeslib.as_array(buffer).reshape(plan.num_tokens, self.info.hidden_size)
        ends = np.cumsum([len(row.tokens) for row in plan.rows])
        wanted = [states[end - row.num_hidden : end] for end, row in zip(ends, plan.rows, strict=True)]
        return StepResult(self._no_logits, np.concatenate(wanted))

    def _check(self, plan: StepPlan) -> None:
        """libllama ends the process on a batch that is too large, or on a position that the model has not."""
        slots = {row.slot for row in plan.rows}
        fits = plan.num_tokens <= self.info.max_batch_tokens and len(slots) == len(plan.rows)
        if not fits or any(not 0 <= slot < self.info.num_slots for slot in slots):
            raise PlanError("The plan was refused: too many tokens, or slots that are not there or come twice.")
        for row in plan.rows:
            length = len(row.tokens)
            if row.start or row.num_logits or not 0 <= row.num_hidden <= length or not 0 < length <= self.info.context_len:
                raise PlanError(f"The plan was refused: slot {row.slot} has no whole text, or wants logits of an encoder.")

    def close(self) -> None:
        self._session.close()
