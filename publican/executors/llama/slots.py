"""`SlotLengths`: the check that a plan may be handed to libllama, which aborts the process or guesses on a bad one.

Plain Python over lists: a row is one token most of the time, and there are few.
"""

from __future__ import annotations

from publican.core.errors import PlanError
from publican.core.executor import Cells, ExecutorInfo
from publican.core.step import Free, MemoryOp, Row, Share, StepPlan, Truncate


class SlotLengths:
    """How many tokens every slot holds."""

    def __init__(self, info: ExecutorInfo) -> None:
        assert isinstance(info.memory, Cells)
        self.info = info
        self._can_rewind = info.memory.can_rewind
        self._lengths = [0] * info.num_slots

    def check(self, plan: StepPlan) -> list[int]:
        """Every slot's length after the operations of `plan`, all of which and all rows make sense. Changes nothing.

        Raises:
            PlanError: they do not.
        """
        lengths = self._lengths.copy() if plan.ops else self._lengths
        try:
            for op in plan.ops:
                self._follow(op, lengths)
            self._check_rows(plan, lengths)
        except (IndexError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(f"The plan was refused: {error}.") from error
        return lengths

    def settle(self, lengths: list[int]) -> None:
        """The operations were followed (to `lengths`)."""
        self._lengths = lengths

    def computed(self, plan: StepPlan) -> None:
        """After that, the rows of `plan` were computed."""
        for row in plan.rows:
            self._lengths[row.slot] += len(row.tokens)

    def _follow(self, op: MemoryOp, lengths: list[int]) -> None:
        match op:
            case Share(source, target, num_tokens):
                held = lengths[self._slot(source)]
                _require(lengths[self._slot(target)] == 0 and source != target, f"{op}: the target is not empty")
                _require(0 < num_tokens <= held, f"{op}: the source has {held} tokens")
                _require(self._can_rewind or num_tokens == held, f"{op}: this model cannot share a part")
                lengths[target] = num_tokens
            case Truncate(slot, num_tokens):
                held = lengths[self._slot(slot)]
                _require(num_tokens >= 0, f"{op} is negative")
                _require(self._can_rewind or num_tokens in (0, held), f"{op}: this model cannot forget a part")
                lengths[slot] = min(held, num_tokens)
            case Free(slot):
                lengths[self._slot(slot)] = 0
            case _:
                raise PlanError(f"The plan was refused: {op} is not for cell memory.")

    def _check_rows(self, plan: StepPlan, lengths: list[int]) -> None:
        info = self.info
        num_tokens = num_logits = 0
        for row in plan.rows:
            self._check_row(row, lengths)
            num_tokens += len(row.tokens)
            num_logits += row.num_logits
        _require(num_tokens <= info.max_batch_tokens, f"{num_tokens} tokens, {info.max_batch_tokens} allowed")
        _require(num_logits <= info.max_logits, f"{num_logits} rows of logits, {info.max_logits} allowed")
        _require(len({row.slot for row in plan.rows}) == len(plan.rows), "a slot has two rows")

    def _check_row(self, row: Row, lengths: list[int]) -> None:
        slot, length = self._slot(row.slot), len(row.tokens)
        if length == 0:
            raise ValueError(f"slot {slot} has a row of no tokens")
        if row.start != lengths[slot]:
            raise ValueError(f"slot {slot} holds {lengths[slot]} tokens and its row starts at {row.start}")
        if row.start + length > self.info.context_len:
            raise ValueError(f"slot {slot} goes beyond the context")
        if not 0 <= row.num_logits <= length:
            raise ValueError(f"slot {slot} wants {row.num_logits} rows of logits of {length}")
        if not 0 <= row.num_hidden <= length:
            raise ValueError(f"slot {slot} wants {row.num_hidden} hidden states of {length}")

    def _slot(self, slot: int) -> int:
        if not 0 <= slot < self.info.num_slots:
            raise ValueError(f"slot {slot} is out of range")
        return slot


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ValueError(text)
