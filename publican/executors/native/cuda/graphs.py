"""`Graphs`: steps of decoding, captured once and replayed: launching two hundred kernels takes longer than running them.

A graph is for so many sequences of one token each and so many pages; a step is padded to the next such shape, its padding
writing into the caches' spare pages. A shape is captured when it comes the second time: the first run, which is not captured,
compiles what has to be compiled. All graphs share one pool of memory, for only one runs at a time.

Nothing here can run without an NVIDIA card; `pad` and the buckets are plain NumPy, and tested everywhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from publican.core.step import NO_ADAPTER
from publican.executors.native.batch import Batch, Ints
from publican.executors.native.cuda.inputs import Inputs, StepInputs

_SIZES = (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128)
_FEWEST_PAGES = 16

Forward = Callable[[list[StepInputs]], tuple[torch.Tensor, torch.Tensor | None]]
Shape = tuple[int, int]
"""Sequences and pages."""


class Graphs:
    """Graphs of one device.

    Args:
        limits: the most sequences, and the most pages of one.
        spare_pages: what padding is written to, of either kind of pages.
        forward: queues a step on the current stream.
    """

    def __init__(
        self, device: torch.device, limits: tuple[int, int], spare_pages: tuple[int, int], inputs: Inputs, forward: Forward
    ) -> None:
        self._device = device
        self._max_sequences, self._max_pages = limits
        self._spare_pages = spare_pages
        self._inputs = inputs
        self._forward = forward
        self._seen: set[tuple[Shape, bool]] = set()
        self._captured: dict[tuple[Shape, bool], tuple[Any, torch.Tensor]] = {}
        self._pool: Any = None

    def fits(self, batch: Batch) -> bool:
        """Whether a step is nothing but decoding, one row of logits for each sequence."""
        num_sequences = len(batch.starts)
        is_decoding = len(batch.tokens) == num_sequences == len(batch.logit_rows) and not len(batch.hidden_rows)
        return is_decoding and bucket(num_sequences, self._max_sequences) is not None

    def run(self, batch: Batch) -> torch.Tensor:
        """Logits [sequences, V]."""
        num_sequences = len(batch.starts)
        size = bucket(num_sequences, self._max_sequences)
        assert size is not None
        shape = size, page_bucket(batch.pages.shape[1], self._max_pages)
        sent = self._inputs.send(pad(batch, shape, self._spare_pages))
        kind = shape, batch.adapters is not None  # without adapters a step has fewer kernels
        if kind not in self._captured:
            if kind not in self._seen:
                self._seen.add(kind)
                return self._forward(sent)[0][:num_sequences]
            self._captured[kind] = self._capture(sent)
        graph, logits = self._captured[kind]
        graph.replay()
        return logits[:num_sequences]

    def _capture(self, sent: list[StepInputs]) -> tuple[Any, torch.Tensor]:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)
        with torch.cuda.graph(graph, pool=self._pool):
            logits, _ = self._forward(sent)
        self._pool = self._pool or graph.pool()
        return graph, logits


def bucket(num_sequences: int, most: int) -> int | None:
    """The size of graph for so many sequences, or None for more than any."""
    place = bisect_left(_SIZES, num_sequences)
    if place == len(_SIZES) or num_sequences > most:
        return None
    return min(_SIZES[place], most)


def page_bucket(num_pages: int, most: int) -> int:
    """The width of page tables for sequences of so many pages: 16, 64, 256, …"""
    size = _FEWEST_PAGES
    while size < num_pages:
        size *= 4
    return min(size, most)


def pad(batch: Batch, shape: Shape, spare_pages: tuple[int, int]) -> Batch:
    """A step of decoding as one of `shape`: more sequences of one token at position 0, in the spare page of each kind."""
    size = shape[0]
    missing = size - len(batch.starts)
    rows = np.arange(size, dtype=np.int32)
    return Batch(
        tokens=np.pad(batch.tokens, (0, missing)),
        positions=np.pad(batch.positions, (0, missing)),
        owners=rows,
        starts=rows,
        lengths=np.ones(size, np.int32),
        past=np.pad(batch.past, (0, missing)),
        pages=_padded(batch.pages, shape, spare_pages[0]),
        logit_rows=rows,
        hidden_rows=batch.hidden_rows,
        adapters=None if batch.adapters is None else np.pad(batch.adapters, (0, missing), constant_values=NO_ADAPTER),
        windowed_pages=None if batch.windowed_pages is None else _padded(batch.windowed_pages, shape, spare_pages[1]),
    )


def _padded(table: Ints, shape: Shape, spare_page: int) -> Ints:
    pages = np.full(shape, spare_page, np.int32)
    pages[: table.shape[0], : table.shape[1]] = table
    return pages
