"""Page tables: what `Extend`, `CopyPage`, `Truncate` and `Free` mean, and the check that a plan makes sense.

Every paged executor keeps one. After `apply` a plan is safe to hand to code that checks nothing: tokens, slots, pages and
positions are in range, everything a row reads was written, and nothing that others read is overwritten.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import PlanError
from publican.core.executor import ExecutorInfo, Pages
from publican.core.step import NO_ADAPTER, CopyPage, Extend, Free, MemoryOp, Row, StepPlan, Truncate


class PageTables:
    """The pages of every slot.

    Attributes:
        table: int32 [num_slots, max_pages]; entries beyond a slot's `num_pages` are stale.
        num_pages: int32 [num_slots].
    """

    def __init__(self, info: ExecutorInfo) -> None:
        assert isinstance(info.memory, Pages)
        self.info = info
        self.page_len = info.memory.page_len
        max_pages = -(-info.context_len // self.page_len)
        self.table: NDArray[np.int32] = np.zeros((info.num_slots, max_pages), np.int32)
        self.num_pages: NDArray[np.int32] = np.zeros(info.num_slots, np.int32)
        self._filled: NDArray[np.int32] = np.zeros(info.memory.num_pages, np.int32)  # leading tokens written, per page
        self._num_users: NDArray[np.int32] = np.zeros(info.memory.num_pages, np.int32)  # tables a page stands in

    def apply(self, plan: StepPlan) -> list[tuple[int, int]]:
        """Check `plan`, then follow its operations; returns the page copies to make, in order, as (source, target).

        Raises:
            PlanError: with nothing changed.
        """
        before = self._snapshot() if plan.ops else None
        try:
            copies = [copy for op in plan.ops if (copy := self._follow(op)) is not None]
            self._check_rows(plan)
        except (PlanError, IndexError, TypeError, ValueError, OverflowError) as error:
            if before is not None:
                self.table, self.num_pages, self._filled, self._num_users = before
            raise PlanError(f"The plan was refused: {error}") from error
        self._note_written(plan)
        return copies

    def _snapshot(self) -> tuple[NDArray[np.int32], ...]:
        return self.table.copy(), self.num_pages.copy(), self._filled.copy(), self._num_users.copy()

    def _follow(self, op: MemoryOp) -> tuple[int, int] | None:
        match op:
            case Extend(slot, pages):
                self._require(all(0 <= page < len(self._filled) for page in pages), f"{op} names a page out of range")
                start = int(self.num_pages[self._slot(slot)])
                self._require(start + len(pages) <= self.table.shape[1], f"{op} is longer than the context")
                self.table[slot, start : start + len(pages)] = pages
                self.num_pages[slot] += len(pages)
                for page in pages:
                    self._num_users[page] += 1
            case CopyPage(source, target):
                pages_ok = 0 <= source < len(self._filled) and 0 <= target < len(self._filled) and source != target
                self._require(pages_ok, f"{op} names a page out of range")
                self._require(self._num_users[target] == 0, f"{op} overwrites a page in use")
                self._filled[target] = self._filled[source]
                return int(source), int(target)
            case Truncate(slot, num_tokens):
                self._require(num_tokens >= 0, f"{op} is negative")
                self._drop(self._slot(slot), -(-num_tokens // self.page_len))
                if num_tokens % self.page_len and self.num_pages[slot] * self.page_len > num_tokens:
                    last = self.table[slot, self.num_pages[slot] - 1]
                    if self._num_users[last] == 1:  # what others read stays, and nobody may write there
                        self._filled[last] = min(self._filled[last], num_tokens % self.page_len)
            case Free(slot):
                self._drop(self._slot(slot), 0)
            case _:
                raise PlanError(f"{op} is not for paged memory")
        return None

    def _drop(self, slot: int, num_kept: int) -> None:
        dropped = self.table[slot, num_kept : self.num_pages[slot]]
        self._num_users[dropped] -= 1
        self.num_pages[slot] = min(num_kept, self.num_pages[slot])

    def _check_rows(self, plan: StepPlan) -> None:
        info = self.info
        self._require(plan.num_tokens <= info.max_batch_tokens, f"{plan.num_tokens} tokens, {info.max_batch_tokens} allowed")
        self._require(plan.num_logits <= info.max_logits, f"{plan.num_logits} rows of logits, {info.max_logits} allowed")
        self._require(len({row.slot for row in plan.rows}) == len(plan.rows), "a slot has two rows")
        for row in plan.rows:
            self._check_row(row)

    def _note_written(self, plan: StepPlan) -> None:
        for row in plan.rows:
            first, end = row.start // self.page_len, row.start + len(row.tokens)
            pages = self.table[row.slot, first : -(-end // self.page_len)]
            self._filled[pages] = self.page_len
            if end % self.page_len:
                self._filled[pages[-1]] = end % self.page_len

    def _check_row(self, row: Row) -> None:
        slot, length = self._slot(row.slot), len(row.tokens)
        self._require(length > 0, f"slot {slot} has a row of no tokens")
        self._require(0 <= row.num_logits <= length and 0 <= row.num_hidden <= length, f"slot {slot} wants rows it has not")
        self._require(not row.num_hidden or self.info.hidden_size > 0, "hidden states are not to be had")
        self._require(NO_ADAPTER <= row.adapter < self.info.num_adapters, f"slot {slot} wants an adapter that is not there")
        self._require(min(row.tokens) >= 0 and max(row.tokens) < self.info.vocab_size, f"slot {slot} has a token out of range")
        end = row.start + length
        self._require(end <= self.info.context_len, f"slot {slot} goes beyond the context")
        self._require(row.start >= 0 and end <= self.num_pages[slot] * self.page_len, f"slot {slot} goes beyond its pages")
        first, inside = divmod(row.start, self.page_len)
        filled = self._filled[self.table[slot, : self.num_pages[slot]]]
        self._require(bool((filled[:first] == self.page_len).all()), f"slot {slot} reads what was not written")
        self._require(not inside or filled[first] >= inside, f"slot {slot} reads what was not written")
        written = self.table[slot, first : -(-end // self.page_len)]
        self._require(bool((self._num_users[written] == 1).all()), f"slot {slot} writes to a page that others read")

    def _slot(self, slot: int) -> int:
        self._require(0 <= slot < self.info.num_slots, f"slot {slot} is out of range")
        return slot

    @staticmethod
    def _require(condition: bool, text: str) -> None:
        if not condition:
            raise PlanError(text)
