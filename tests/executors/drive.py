"""Drives any executor by hand: keeps the books of its memory, pages or cells, and makes plans of what a test wants.

    drive = Drive(executor)
    drive.step({0: prompt, 3: other})         # logits of each row's last token, by slot
    drive.share(0, 1, 20)                      # slot 1 begins like slot 0
    drive.truncate(1, 12)

Operations wait for the next step, as the engine's do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from publican.core.executor import Executor, Pages
from publican.core.ids import PageId, SlotId
from publican.core.step import NO_ADAPTER, CopyPage, Extend, Free, MemoryOp, Row, Share, StepPlan, Truncate


class PageBook:
    """Which pages each slot has. Pages are shared whole; a partly shared one is copied."""

    def __init__(self, pages: Pages, seed: int = 0) -> None:
        self.page_len = pages.page_len
        self.free = [PageId(int(p)) for p in np.random.default_rng(seed).permutation(pages.num_pages)]
        self.tables: dict[int, list[PageId]] = {}
        self.users: dict[PageId, int] = {}

    def grow(self, slot: int, num_tokens: int) -> list[MemoryOp]:
        """Room for `num_tokens` in all."""
        table = self.tables.setdefault(slot, [])
        missing = -(-num_tokens // self.page_len) - len(table)
        return [self._append(slot, [self._take() for _ in range(missing)])] if missing > 0 else []

    def share(self, source: int, target: int, num_tokens: int) -> list[MemoryOp]:
        whole, inside = divmod(num_tokens, self.page_len)
        self.tables[target] = []
        ops: list[MemoryOp] = [self._append(target, self.tables[source][:whole])] if whole else []
        if inside:
            copy = self._take()
            ops += [CopyPage(self.tables[source][whole], copy), self._append(target, [copy])]
        return ops

    def truncate(self, slot: int, num_tokens: int) -> list[MemoryOp]:
        whole, inside = divmod(num_tokens, self.page_len)
        last = self.tables[slot][whole] if inside else None
        is_shared = last is not None and self.users[last] > 1
        self._drop(slot, whole + (1 if inside and not is_shared else 0))
        if last is None or not is_shared:
            return [Truncate(SlotId(slot), num_tokens)]
        copy = self._take()  # what follows will be written, and others read this page
        return [Truncate(SlotId(slot), whole * self.page_len), CopyPage(last, copy), self._append(slot, [copy])]

    def release(self, slot: int) -> list[MemoryOp]:
        self._drop(slot, 0)
        return [Free(SlotId(slot))]

    def _take(self) -> PageId:
        return self.free.pop()

    def _append(self, slot: int, pages: Sequence[PageId]) -> Extend:
        self.tables[slot] += pages
        for page in pages:
            self.users[page] = self.users.get(page, 0) + 1
        return Extend(SlotId(slot), tuple(pages))

    def _drop(self, slot: int, num_kept: int) -> None:
        table = self.tables[slot]
        for page in table[num_kept:]:
            self.users[page] -= 1
            if not self.users[page]:
                self.free.insert(0, page)
        del table[num_kept:]


class WindowedBook:
    """Both kinds of pages, and nothing is given back: there must be room for all that a test holds."""

    def __init__(self, pages: Pages, seed: int) -> None:
        self.full = PageBook(pages, seed)
        self.windowed = PageBook(Pages(pages.page_len, pages.num_windowed_pages), seed + 1)

    def grow(self, slot: int, num_tokens: int) -> list[MemoryOp]:
        return self._both(self.full.grow(slot, num_tokens), self.windowed.grow(slot, num_tokens))

    def share(self, source: int, target: int, num_tokens: int) -> list[MemoryOp]:
        return self._both(self.full.share(source, target, num_tokens), self.windowed.share(source, target, num_tokens))

    def truncate(self, slot: int, num_tokens: int) -> list[MemoryOp]:
        return self._both(self.full.truncate(slot, num_tokens), self.windowed.truncate(slot, num_tokens))

    def release(self, slot: int) -> list[MemoryOp]:
        return self._both(self.full.release(slot), self.windowed.release(slot))

    @staticmethod
    def _both(full: list[MemoryOp], windowed: list[MemoryOp]) -> list[MemoryOp]:
        """What cuts or frees a slot does so in both tables."""
        return full + [replace(op, windowed=True) for op in windowed if isinstance(op, Extend | CopyPage)]


class CellBook:
    """Cells keep themselves; sequences are shared, cut and freed."""

    def grow(self, slot: int, num_tokens: int) -> list[MemoryOp]:
        return []

    def share(self, source: int, target: int, num_tokens: int) -> list[MemoryOp]:
        return [Share(SlotId(source), SlotId(target), num_tokens)]

    def truncate(self, slot: int, num_tokens: int) -> list[MemoryOp]:
        return [Truncate(SlotId(slot), num_tokens)]

    def release(self, slot: int) -> list[MemoryOp]:
        return [Free(SlotId(slot))]


class Drive:
    """One executor, and what a test does to it."""

    def __init__(self, executor: Executor, seed: int = 0) -> None:
        self.executor = executor
        memory = executor.info.memory
        self.book: PageBook | WindowedBook | CellBook = CellBook()
        if isinstance(memory, Pages):
            self.book = WindowedBook(memory, seed) if memory.window else PageBook(memory, seed)
        self.lengths: dict[int, int] = {}
        self.adapters: dict[int, int] = {}
        """Of each slot that has one."""
        self._ops: list[MemoryOp] = []

    def plan(self, rows: Mapping[int, Sequence[int]], num_logits: int | None = 1, num_hidden: int = 0) -> StepPlan:
        """A plan that appends tokens to slots; None wants logits of every token."""
        planned = []
        for slot, tokens in rows.items():
            start = self.lengths.get(slot, 0)
            self._ops += self.book.grow(slot, start + len(tokens))
            count = len(tokens) if num_logits is None else min(num_logits, len(tokens))
            adapter = self.adapters.get(slot, NO_ADAPTER)
            planned.append(Row(SlotId(slot), list(tokens), start, count, min(num_hidden, len(tokens)), adapter))
            self.lengths[slot] = start + len(tokens)
        ops, self._ops = tuple(self._ops), []
        return StepPlan(tuple(planned), ops)

    def step(self, rows: Mapping[int, Sequence[int]], num_logits: int | None = 1) -> dict[int, np.ndarray]:
        """Compute; returns each slot's logits [rows wanted, V]."""
        plan = self.plan(rows, num_logits)
        logits = on_host(self.executor.execute(plan).logits).copy()  # they are valid until the next step
        ends = np.cumsum([row.num_logits for row in plan.rows])
        return {row.slot: logits[end - row.num_logits : end] for row, end in zip(plan.rows, ends, strict=True)}

    def share(self, source: int, target: int, num_tokens: int) -> None:
        self._ops += self.book.share(source, target, num_tokens)
        self.lengths[target] = num_tokens

    def truncate(self, slot: int, num_tokens: int) -> None:
        self._ops += self.book.truncate(slot, num_tokens)
        self.lengths[slot] = num_tokens

    def free(self, slot: int) -> None:
        self._ops += self.book.release(slot)
        self.lengths[slot] = 0


def on_host(array: Any) -> np.ndarray:
    """An executor's array as NumPy's, from whatever device."""
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)
