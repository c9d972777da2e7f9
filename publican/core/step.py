"""`StepPlan`: what the engine asks an executor to compute, as plain data.

The engine decides, the executor obeys: a plan names every token to compute and every change to the memory that must come
first, and an executor has no policy of its own. Two kinds of memory read the same plan:

- *paged* executors keep a table of pages per slot and follow `Extend`, `CopyPage`, `Truncate` and `Free`; where layers have
  a sliding window (`Pages.window`), these have pages and a table of their own, of which `Release` gives back the beginning;
- *cell* executors (libllama) keep sequences and follow `Share`, `Truncate` and `Free`.

Operations come first, in order; then all rows are computed as one ragged batch. A row may read whatever its slot holds
below `start`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from publican.core.ids import PageId, SlotId, TokenId

NO_ADAPTER = -1
"""The weights as they are."""
NO_PAGE = PageId(-1)
"""In the table of windowed pages: nothing is held here, for no row to come looks so far back."""


@dataclass(frozen=True, slots=True)
class Extend:
    """Append `pages` to the page table of `slot`. The same page may stand in several tables: that is a shared prefix.

    `windowed`: to the table of windowed pages, where the first ones may be `NO_PAGE`.
    """

    slot: SlotId
    pages: tuple[PageId, ...]
    windowed: bool = False


@dataclass(frozen=True, slots=True)
class CopyPage:
    """Copy what `source` holds, all layers, to `target`, so that a partly equal page need not be computed again."""

    source: PageId
    target: PageId
    windowed: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """No row of `slot` to come looks back at its first `num_pages` windowed pages: they become `NO_PAGE` in its table."""

    slot: SlotId
    num_pages: int


@dataclass(frozen=True, slots=True)
class Share:
    """The empty slot `target` begins with the first `num_tokens` tokens of `source`."""

    source: SlotId
    target: SlotId
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Forget everything in `slot` from position `num_tokens` on. A paged executor drops the pages wholly beyond it."""

    slot: SlotId
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Free:
    """Forget everything in `slot`. A paged executor empties its table; the pages may live on in other tables."""

    slot: SlotId


MemoryOp = Extend | CopyPage | Release | Share | Truncate | Free


@dataclass(frozen=True, slots=True)
class Row:
    """Compute `tokens` at positions `start`, `start + 1`, … of `slot`.

    The last `num_logits` of them give a row of logits each, and the last `num_hidden` a final hidden state each. `adapter` is
    which of the executor's adapters changes the weights for them; what a slot holds was computed with the same.
    """

    slot: SlotId
    tokens: Sequence[TokenId]
    start: int
    num_logits: int
    num_hidden: int = 0
    adapter: int = NO_ADAPTER


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step. Logit rows come back in the order of `rows`, and within a row in the order of its tokens."""

    rows: tuple[Row, ...]
    ops: tuple[MemoryOp, ...] = ()

    @property
    def num_tokens(self) -> int:
        return sum(len(row.tokens) for row in self.rows)

    @property
    def num_logits(self) -> int:
        return sum(row.num_logits for row in self.rows)

    @property
    def num_hidden(self) -> int:
        return sum(row.num_hidden for row in self.rows)
