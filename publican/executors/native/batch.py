"""A plan as arrays: what every backend reads in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from publican.core.executor import Array, Top
from publican.core.step import NO_ADAPTER, StepPlan
from publican.executors.page_table import PageTables

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """M tokens of S sequences, those of one sequence side by side. All arrays are int32, contiguous, and checked.

    Attributes:
        tokens, positions, owners: [M]; the owner of a token is its sequence's place in the arrays of length S.
        starts, lengths: [S]; sequence s has tokens starts[s] … starts[s] + lengths[s] - 1.
        past: [S]; how many tokens its slot held before this step.
        pages: [S, P]; its page table, up to the longest one's end; beyond its own end entries are stale.
        logit_rows, hidden_rows: which of the M tokens want logits, or hidden states, in order.
        windowed_pages: [S, P]; the same of layers with a window, where what is behind it is no page of the sequence's; None
            where there are no such pages.
        adapters: [S]; the adapter of each sequence, -1 for none; None where no sequence has one.
    """

    tokens: Ints
    positions: Ints
    owners: Ints
    starts: Ints
    lengths: Ints
    past: Ints
    pages: Ints
    logit_rows: Ints
    hidden_rows: Ints
    adapters: Ints | None = None
    windowed_pages: Ints | None = None


class Backend(Protocol):
    """Runs a program. Owns the KV cache: pages numbered from 0, all layers of a page together or not, as it likes.

    A backend is a package with a function ``make_backend(program: Program, config: NativeConfig) -> Backend``, which
    `loading` calls with every 0 in the config filled in.
    """

    @property
    def device(self) -> str:
        """Where it computes, for people: ``cpu (AVX-512, 2 threads)``."""
        ...

    @property
    def top(self) -> Top | None:
        """See `core.executor.Executor`."""
        ...

    def copy_page(self, source: int, target: int, is_windowed: bool) -> None: ...

    def run(self, batch: Batch) -> tuple[Array, Array | None]:
        """Logits [len(logit_rows), V] and hidden states [len(hidden_rows), hidden_size] or None, float32."""
        ...

    def close(self) -> None: ...


def make_batch(plan: StepPlan, tables: PageTables) -> Batch:
    """The arrays of a plan that `tables` has already applied, and so checked."""
    rows = plan.rows
    lengths = np.array([len(row.tokens) for row in rows], np.int32)
    starts = np.cumsum(lengths, dtype=np.int32) - lengths
    past = np.array([row.start for row in rows], np.int32)
    slots = np.array([row.slot for row in rows], np.int32)
    owners = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
    num_tokens = int(lengths.sum())
    positions = np.arange(num_tokens, dtype=np.int32) - np.repeat(starts - past, lengths)
    adapters = np.array([row.adapter for row in rows], np.int32)
    max_pages = -(-int((past + lengths).max()) // tables.page_len)
    return Batch(
        tokens=np.concatenate([np.asarray(row.tokens, np.int32) for row in rows]),
        positions=positions.astype(np.int32),
        owners=owners,
        starts=starts,
        lengths=lengths,
        past=past,
        pages=np.ascontiguousarray(tables.table[slots, :max_pages]),
        logit_rows=_last_rows(starts, lengths, [row.num_logits for row in rows]),
        hidden_rows=_last_rows(starts, lengths, [row.num_hidden for row in rows]),
        adapters=adapters if (adapters != NO_ADAPTER).any() else None,
        windowed_pages=None if tables.windowed is None else np.maximum(tables.windowed.table[slots, :max_pages], 0),
    )


def _last_rows(starts: Ints, lengths: Ints, counts: list[int]) -> Ints:
    """The indices of the last counts[s] tokens of each sequence s."""
    ends = starts + lengths
    parts = [np.arange(end - n, end, dtype=np.int32) for end, n in zip(ends, counts, strict=True) if n]
    return np.concatenate(parts) if parts else np.empty(0, np.int32)
