"""`FakeExecutor`: a deterministic model of bytes that needs no file, and a strict reader of plans.

Its next token depends on every token before it, read back through the very memory that the plans built. So whoever
shares a prefix wrongly, loses a page or mixes two slots up gets another answer, and tests see it. So does whoever reads
what was computed with another adapter: the memory holds each token as its row's adapter makes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import OutOfMemory, PlanError
from publican.core.executor import Cells, ExecutorInfo, Pages, StepResult
from publican.core.ids import TokenId
from publican.core.step import NO_ADAPTER, Free, MemoryOp, Row, Share, StepPlan, Truncate
from publican.core.tokenizer import Vocabulary
from publican.executors.page_table import PageTables

BOS, EOS, IM_START, IM_END = (TokenId(i) for i in range(256, 260))
FAKE_VOCABULARY = Vocabulary(
    pieces=(*(bytes([i]) for i in range(256)), b"<s>", b"</s>", b"<|im_start|>", b"<|im_end|>"),
    special=frozenset((BOS, EOS, IM_START, IM_END)),
    end=frozenset((EOS, IM_END)),
    bos=BOS,
)
_LETTERS = np.frombuffer(b"etaoin shrdlu cmfwyp", np.uint8)
HIDDEN_SIZE = 8


def fake_info(memory: Pages | Cells | None = None, **changes: Any) -> ExecutorInfo:
    """The fake's usual measures, with changes."""
    usual: dict[str, Any] = {"num_slots": 8, "context_len": 512, "max_batch_tokens": 64, "max_logits": 64}
    return ExecutorInfo(
        loader="fake",
        device="none",
        vocab_size=FAKE_VOCABULARY.size,
        memory=memory or Pages(16, 128),
        hidden_size=HIDDEN_SIZE,
        **(usual | changes),
    )


class FakeExecutor:
    """A model that speaks lower-case nonsense.

    Args:
        info: what it pretends to be; `fake_info` makes one.
        step_s, token_s: how long a step pretends to take: so much, and so much for every token.
        ends: whether it ever says end-of-sequence of its own (about every 100 tokens).
    """

    top = None

    def __init__(self, info: ExecutorInfo | None = None, step_s: float = 0.0, token_s: float = 0.0, ends: bool = False) -> None:
        self.info = info or fake_info()
        self._memory: _PagedMemory | _CellMemory
        self._memory = _PagedMemory(self.info) if isinstance(self.info.memory, Pages) else _CellMemory(self.info)
        self._step_s = step_s
        self._token_s = token_s
        self._ends = ends
        self.num_steps = 0
        self.num_tokens = 0
        self.closed = False

    def execute(self, plan: StepPlan) -> StepResult:
        assert not self.closed
        self._memory.apply(plan)
        logits, hidden = [], []
        for row in plan.rows:
            self._memory.write(row)
            held = self._memory.read(row.slot, row.start + len(row.tokens))
            for i in range(len(row.tokens)):
                end = row.start + i + 1
                if i >= len(row.tokens) - row.num_logits:
                    logits.append(self._next(held[:end]))
                if i >= len(row.tokens) - row.num_hidden:
                    hidden.append(np.random.default_rng(_digest(held[:end])).standard_normal(HIDDEN_SIZE))
        self.num_steps += 1
        self.num_tokens += plan.num_tokens
        if self._step_s or self._token_s:
            time.sleep(self._step_s + self._token_s * plan.num_tokens)
        return StepResult(
            np.array(logits, np.float32).reshape(-1, self.info.vocab_size),
            np.array(hidden, np.float32).reshape(-1, HIDDEN_SIZE) if hidden else None,
        )

    def _next(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        digest = _digest(tokens)
        logits = np.random.default_rng(digest).standard_normal(self.info.vocab_size)
        logits[128:] -= 20.0
        logits[_LETTERS[digest % len(_LETTERS)]] += 8.0
        if self._ends and digest % 97 == 0:
            logits[EOS] += 40.0
        return logits

    def close(self) -> None:
        self.closed = True


def _adapted(row: Row) -> list[int]:
    """The tokens of a row as memory holds them."""
    return [token + (row.adapter - NO_ADAPTER) * len(FAKE_VOCABULARY.pieces) for token in row.tokens]


def _digest(tokens: Sequence[int]) -> int:
    return crc32(np.asarray(tokens, np.int32).tobytes())


class _PagedMemory:
    """Tokens in pages, found through the page tables."""

    def __init__(self, info: ExecutorInfo) -> None:
        assert isinstance(info.memory, Pages)
        self._tables = PageTables(info)
        self._window = info.memory.window
        self._pages = np.full((info.memory.num_pages, info.memory.page_len), -1, np.int32)
        self._windowed_pages = np.full((info.memory.num_windowed_pages, info.memory.page_len), -1, np.int32)

    def apply(self, plan: StepPlan) -> None:
        for source, target, is_windowed in self._tables.apply(plan):
            pages = self._windowed_pages if is_windowed else self._pages
            pages[target] = pages[source]

    def write(self, row: Row) -> None:
        page_len = self._tables.page_len
        for i, token in enumerate(_adapted(row)):
            page, inside = divmod(row.start + i, page_len)
            self._pages[self._tables.table[row.slot, page], inside] = token
            if self._tables.windowed is not None:
                self._windowed_pages[self._tables.windowed.table[row.slot, page], inside] = token
        if self._tables.windowed is not None:
            self._check_window(row, self._tables.windowed.table[row.slot])

    def read(self, slot: int, num_tokens: int) -> list[int]:
        pages = self._tables.table[slot, : -(-num_tokens // self._tables.page_len)]
        return [int(t) for t in self._pages[pages].reshape(-1)[:num_tokens]]

    def _check_window(self, row: Row, table: NDArray[np.int32]) -> None:
        """What the first token of a row looks back at must lie in both kinds of pages."""
        first, end = max(0, row.start + 1 - self._window), row.start + len(row.tokens)
        places = [divmod(position, self._tables.page_len) for position in range(first, end)]
        held = [int(self._windowed_pages[table[page], inside]) for page, inside in places]
        assert held == self.read(row.slot, end)[first:], "the windowed pages hold something else"


class _CellMemory:
    """Tokens in sequences; a cell that two sequences share counts once."""

    def __init__(self, info: ExecutorInfo) -> None:
        self._info = info
        self._slots: dict[int, list[tuple[int, int]]] = {}  # (token, cell)
        self._next_cell = 0

    def apply(self, plan: StepPlan) -> None:
        before = {slot: held.copy() for slot, held in self._slots.items()}
        try:
            for op in plan.ops:
                self._follow(op)
            self._check_rows(plan)
        except PlanError:
            self._slots = before
            raise
        used = {cell for held in self._slots.values() for _, cell in held}
        if len(used) + plan.num_tokens > self._info.memory.num_tokens:
            raise OutOfMemory("The fake has no free cells left.")

    def _follow(self, op: MemoryOp) -> None:
        match op:
            case Share(source, target, num_tokens):
                self._require(not self._held(target), f"{op}: the target is not empty")
                self._require(0 < num_tokens <= len(self._held(source)), f"{op}: the source has not so many")
                self._slots[target] = self._slots[source][:num_tokens]
            case Truncate(slot, num_tokens):
                can_rewind = isinstance(self._info.memory, Cells) and self._info.memory.can_rewind
                self._require(num_tokens == 0 or (num_tokens > 0 and can_rewind), f"{op}: cannot rewind")
                del self._held(slot)[num_tokens:]
            case Free(slot):
                self._held(slot).clear()
            case _:
                raise PlanError(f"{op} is not for cell memory")

    def _check_rows(self, plan: StepPlan) -> None:
        info = self._info
        self._require(plan.num_tokens <= info.max_batch_tokens and plan.num_logits <= info.max_logits, "the plan is too large")
        self._require(len({row.slot for row in plan.rows}) == len(plan.rows), "a slot has two rows")
        for row in plan.rows:
            held, length = len(self._held(row.slot)), len(row.tokens)
            self._require(row.start == held, f"slot {row.slot} holds {held} tokens, the row starts at {row.start}")
            self._require(0 < length <= info.context_len - held, f"slot {row.slot} has no tokens, or too many")
            self._require(all(0 <= token < info.vocab_size for token in row.tokens), f"slot {row.slot}: no such token")
            self._require(NO_ADAPTER <= row.adapter < info.num_adapters, f"slot {row.slot}: no such adapter")
            self._require(
                not info.is_encoder or (row.start == row.num_logits == 0), f"slot {row.slot}: an encoder reads whole texts"
            )
            wanted = row.num_logits, row.num_hidden
            self._require(all(0 <= n <= length for n in wanted), f"slot {row.slot} wants rows it has not")

    def _held(self, slot: int) -> list[tuple[int, int]]:
        self._require(0 <= slot < self._info.num_slots, f"slot {slot} is out of range")
        return self._slots.setdefault(slot, [])

    @staticmethod
    def _require(condition: bool, text: str) -> None:
        if not condition:
            raise PlanError(text)

    def write(self, row: Row) -> None:
        held = self._slots.setdefault(row.slot, [])
        for token in _adapted(row):
            held.append((token, self._next_cell))
            self._next_cell += 1

    def read(self, slot: int, num_tokens: int) -> list[int]:
        return [token for token, _ in self._slots[slot][:num_tokens]]
