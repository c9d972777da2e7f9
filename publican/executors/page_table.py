"""Page tables: what `Extend`, `CopyPage`, `Release`, `Truncate` and `Free` mean, and the check that a plan makes sense.

Every paged executor keeps one. After `apply` a plan is safe to hand to code that checks nothing: tokens, slots, pages and
positions are in range, everything a row reads was written, and nothing that others read is overwritten.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import PlanError
from publican.core.executor import ExecutorInfo, Pages
from publican.core.step import NO_ADAPTER, NO_PAGE, CopyPage, Extend, Free, MemoryOp, Release, Row, StepPlan, Truncate

Ints = NDArray[np.int32]


class PageCopy(NamedTuple):
    """`windowed`: of the pages of layers with a window."""

    source: int
    target: int
    windowed: bool


class PageTables:
    """The pages of every slot.

    Attributes:
        table: int32 [num_slots, max_pages]; entries beyond a slot's `num_pages` are stale.
        num_pages: int32 [num_slots].
        windowed: the same of layers with a window, or None if there are none. Entries that are not held are `NO_PAGE`.
    """

    def __init__(self, info: ExecutorInfo) -> None:
        assert isinstance(info.memory, Pages)
        self.info = info
        self.page_len = info.memory.page_len
        self._full = _Tables(info, info.memory.num_pages, 0)
        self.windowed = _Tables(info, info.memory.num_windowed_pages, info.memory.window) if info.memory.window else None
        self._all = [self._full] if self.windowed is None else [self._full, self.windowed]

    @property
    def table(self) -> Ints:
        return self._full.table

    @property
    def num_pages(self) -> Ints:
        return self._full.num_pages

    def apply(self, plan: StepPlan) -> list[PageCopy]:
        """Check `plan`, then follow its operations; returns the page copies to make, in order.

        Raises:
            PlanError: with nothing changed.
        """
        before = [tables.snapshot() for tables in self._all] if plan.ops else []
        try:
            copies = [copy for op in plan.ops if (copy := self._follow(op)) is not None]
            self._check_rows(plan)
        except (PlanError, IndexError, TypeError, ValueError, OverflowError) as error:
            for tables, snapshot in zip(self._all, before, strict=False):
                tables.restore(snapshot)
            raise PlanError(f"The plan was refused: {error}") from error
        for tables in self._all:
            tables.note_written(plan)
        return copies

    def _of(self, windowed: bool) -> _Tables:
        if not windowed:
            return self._full
        if self.windowed is None:
            raise PlanError("there are no windowed pages")
        return self.windowed

    def _follow(self, op: MemoryOp) -> PageCopy | None:
        match op:
            case Extend(slot, pages, windowed):
                self._of(windowed).extend(self._slot(slot), pages)
            case CopyPage(source, target, windowed):
                self._of(windowed).copy(source, target)
                return PageCopy(int(source), int(target), windowed)
            case Release(slot, num_pages):
                self._of(True).release(self._slot(slot), num_pages)
            case Truncate(slot, num_tokens):
                require(num_tokens >= 0, f"{op} is negative")
                for tables in self._all:
                    tables.truncate(self._slot(slot), num_tokens)
            case Free(slot):
                for tables in self._all:
                    tables.drop(self._slot(slot), 0)
            case _:
                raise PlanError(f"{op} is not for paged memory")
        return None

    def _check_rows(self, plan: StepPlan) -> None:
        info = self.info
        require(plan.num_tokens <= info.max_batch_tokens, f"{plan.num_tokens} tokens, {info.max_batch_tokens} allowed")
        require(plan.num_logits <= info.max_logits, f"{plan.num_logits} rows of logits, {info.max_logits} allowed")
        require(len({row.slot for row in plan.rows}) == len(plan.rows), "a slot has two rows")
        for row in plan.rows:
            self._check_row(row)

    def _check_row(self, row: Row) -> None:
        slot, length = self._slot(row.slot), len(row.tokens)
        require(length > 0, f"slot {slot} has a row of no tokens")
        require(0 <= row.num_logits <= length and 0 <= row.num_hidden <= length, f"slot {slot} wants rows it has not")
        require(not row.num_hidden or self.info.hidden_size > 0, "hidden states are not to be had")
        require(NO_ADAPTER <= row.adapter < self.info.num_adapters, f"slot {slot} wants an adapter that is not there")
        require(min(row.tokens) >= 0 and max(row.tokens) < self.info.vocab_size, f"slot {slot} has a token out of range")
        end = row.start + length
        require(end <= self.info.context_len, f"slot {slot} goes beyond the context")
        for tables in self._all:
            tables.check_row(slot, row.start, end)

    def _slot(self, slot: int) -> int:
        require(0 <= slot < self.info.num_slots, f"slot {slot} is out of range")
        return slot


class _Tables:
    """The tables of one kind of page. `window` 0: rows look at everything."""

    def __init__(self, info: ExecutorInfo, num_pages: int, window: int) -> None:
        assert isinstance(info.memory, Pages)
        self._page_len, self._window = info.memory.page_len, window
        self.table: Ints = np.zeros((info.num_slots, -(-info.context_len // self._page_len)), np.int32)
        self.num_pages: Ints = np.zeros(info.num_slots, np.int32)
        self._filled: Ints = np.zeros(num_pages, np.int32)  # leading tokens written, per page
        self._num_users: Ints = np.zeros(num_pages, np.int32)  # tables a page stands in

    def snapshot(self) -> tuple[Ints, ...]:
        return self.table.copy(), self.num_pages.copy(), self._filled.copy(), self._num_users.copy()

    def restore(self, snapshot: tuple[Ints, ...]) -> None:
        self.table, self.num_pages, self._filled, self._num_users = snapshot

    def extend(self, slot: int, pages: tuple[int, ...]) -> None:
        start = int(self.num_pages[slot])
        num_behind = next((i for i, page in enumerate(pages) if page != NO_PAGE), 0) if self._window and not start else 0
        require(all(0 <= page < len(self._filled) for page in pages[num_behind:]), f"slot {slot} gets a page out of range")
        require(start + len(pages) <= self.table.shape[1], f"the table of slot {slot} gets longer than the context")
        self.table[slot, start : start + len(pages)] = pages
        self.num_pages[slot] += len(pages)
        for page in pages[num_behind:]:
            self._num_users[page] += 1

    def copy(self, source: int, target: int) -> None:
        in_range = 0 <= source < len(self._filled) and 0 <= target < len(self._filled) and source != target
        require(in_range, f"a copy of {source} to {target} names a page out of range")
        require(bool(self._num_users[target] == 0), f"a copy of {source} to {target} overwrites a page in use")
        self._filled[target] = self._filled[source]

    def release(self, slot: int, num_pages: int) -> None:
        require(0 <= num_pages <= self.num_pages[slot], f"slot {slot} has not {num_pages} pages to release")
        self._let_go(self.table[slot, :num_pages])
        self.table[slot, :num_pages] = NO_PAGE

    def truncate(self, slot: int, num_tokens: int) -> None:
        self.drop(slot, -(-num_tokens // self._page_len))
        if num_tokens % self._page_len and self.num_pages[slot] * self._page_len > num_tokens:
            last = self.table[slot, self.num_pages[slot] - 1]
            if last >= 0 and self._num_users[last] == 1:  # what others read stays, and nobody may write there
                self._filled[last] = min(self._filled[last], num_tokens % self._page_len)

    def drop(self, slot: int, num_kept: int) -> None:
        self._let_go(self.table[slot, num_kept : self.num_pages[slot]])
        self.num_pages[slot] = min(num_kept, self.num_pages[slot])

    def _let_go(self, pages: Ints) -> None:
        self._num_users[pages[pages >= 0] if self._window else pages] -= 1

    def check_row(self, slot: int, start: int, end: int) -> None:
        """Whether `slot` can compute its positions start … end - 1."""
        require(start >= 0 and end <= self.num_pages[slot] * self._page_len, f"slot {slot} goes beyond its pages")
        first, inside = divmod(start, self._page_len)
        begin = max(0, start + 1 - self._window) // self._page_len if self._window else 0
        pages = self.table[slot, begin : self.num_pages[slot]]
        require(not self._window or bool((pages >= 0).all()), f"slot {slot} looks at what was given back")
        filled = self._filled[pages]
        require(bool((filled[: first - begin] == self._page_len).all()), f"slot {slot} reads what was not written")
        require(not inside or filled[first - begin] >= inside, f"slot {slot} reads what was not written")
        written = self.table[slot, first : -(-end // self._page_len)]
        require(bool((self._num_users[written] == 1).all()), f"slot {slot} writes to a page that others read")

    def note_written(self, plan: StepPlan) -> None:
        for row in plan.rows:
            first, end = row.start // self._page_len, row.start + len(row.tokens)
            pages = self.table[row.slot, first : -(-end // self._page_len)]
            self._filled[pages] = self._page_len
            if end % self._page_len:
                self._filled[pages[-1]] = end % self._page_len


def require(condition: bool, text: str) -> None:
    """Raises PlanError with `text` where a condition does not hold."""
    if not condition:
        raise PlanError(text)
