"""Times an executor by itself: plans made by hand, no scheduler, no sampling. Runs on the thread that calls it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from publican.core.executor import Executor, Pages, StepResult
from publican.core.ids import PageId, SlotId, TokenId
from publican.core.step import Extend, Free, MemoryOp, Release, Row, StepPlan


class ExecutorTimer:
    """Keeps slots 0, 1, … filled with tokens of their own, each in its own memory. They only grow.

    Args:
        executor: fresh; not closed here.
        room_len: the most tokens that a slot will hold.
    """

    def __init__(self, executor: Executor, room_len: int) -> None:
        self.executor = executor
        self.info = executor.info
        self.room_len = room_len
        self._held: dict[SlotId, int] = {}

    def num_that_fit(self) -> int:
        """How many sequences of `room_len` tokens there is room for, side by side."""
        memory = self.info.memory
        if isinstance(memory, Pages):
            by_memory = memory.num_pages // self._pages_per_slot(memory)
            if memory.window:
                by_memory = min(by_memory, memory.num_windowed_pages // self._windowed_per_slot(memory))
        else:
            by_memory = memory.num_tokens // self.room_len
        return min(by_memory, self.info.num_slots, self.info.max_logits, self.info.max_batch_tokens)

    def prefill_s(self, prompt_len: int, seed: int) -> float:
        """Compute a new prompt in slot 0, in as few steps as it takes."""
        self._free(SlotId(0))
        tokens = some_tokens(seed, prompt_len, self.info.vocab_size)
        begin = time.perf_counter()
        self._compute(SlotId(0), tokens)
        elapsed_s = time.perf_counter() - begin
        self._free(SlotId(0))
        return elapsed_s

    def decode_s(self, batch_size: int, context_len: int, num_steps: int) -> list[float]:
        """The times of `num_steps` steps of one token for each of `batch_size` sequences, `context_len` long at first."""
        slots = [SlotId(i) for i in range(batch_size)]
        for slot in slots:
            if slot not in self._held:
                self._compute(slot, some_tokens(slot, context_len, self.info.vocab_size))
        tokens = some_tokens(-1, num_steps, self.info.vocab_size)
        return [self._step_s(slots, token) for token in tokens]

    def _step_s(self, slots: Sequence[SlotId], token: TokenId) -> float:
        ops = tuple(op for slot in slots for op in self._windowed_ops(slot, self._held[slot], self._held[slot] + 1))
        plan = StepPlan(tuple(Row(slot, [token], self._held[slot], 1) for slot in slots), ops)
        begin = time.perf_counter()
        wait_for(self.executor.execute(plan))
        elapsed_s = time.perf_counter() - begin
        for slot in slots:
            self._held[slot] += 1
        return elapsed_s

    def _compute(self, slot: SlotId, tokens: Sequence[TokenId]) -> None:
        ops = self._reserve(slot)
        for start in range(0, len(tokens), self.info.max_batch_tokens):
            chunk = tokens[start : start + self.info.max_batch_tokens]
            ops += self._windowed_ops(slot, start, start + len(chunk))
            wait_for(self.executor.execute(StepPlan((Row(slot, chunk, start, 1),), ops)))
            ops = ()
        self._held[slot] = len(tokens)

    def _free(self, slot: SlotId) -> None:
        if self._held.pop(slot, None) is not None:
            self.executor.execute(StepPlan((), (Free(slot),)))

    def _reserve(self, slot: SlotId) -> tuple[MemoryOp, ...]:
        memory = self.info.memory
        if not isinstance(memory, Pages):
            return ()
        count = self._pages_per_slot(memory)
        return (Extend(slot, tuple(PageId(page) for page in range(slot * count, (slot + 1) * count))),)

    def _windowed_ops(self, slot: SlotId, start: int, end: int) -> tuple[MemoryOp, ...]:
        """Give back what the window has left behind, and take the slot's own pages again, by turns."""
        memory = self.info.memory
        if not isinstance(memory, Pages) or not memory.window:
            return ()
        held, wanted = -(-start // memory.page_len), -(-end // memory.page_len)
        count = self._windowed_per_slot(memory)
        if wanted <= held:
            return ()
        pages = tuple(PageId(slot * count + i % count) for i in range(held, wanted))
        return Release(slot, max(0, start + 1 - memory.window) // memory.page_len), Extend(slot, pages, windowed=True)

    def _windowed_per_slot(self, memory: Pages) -> int:
        most = -(-(memory.window + self.info.max_batch_tokens) // memory.page_len) + 1
        return min(most, self._pages_per_slot(memory))

    def _pages_per_slot(self, memory: Pages) -> int:
        return -(-self.room_len // memory.page_len)


def wait_for(result: StepResult) -> None:
    """A device that computes behind our back is done once somebody looks."""
    if len(result.logits):
        float(result.logits[0, 0])


def some_tokens(seed: int, length: int, vocab_size: int) -> list[TokenId]:
    """Random tokens, the same for the same seed; no two seeds begin alike in any vocabulary worth speaking of."""
    dice = random.Random(f"tokens {seed}")  # a number would be taken without its sign
    return [TokenId(dice.randrange(vocab_size)) for _ in range(length)]
