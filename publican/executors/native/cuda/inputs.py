"""`Inputs`: a batch on its way to a device, all of it in one transfer from pinned memory.

A batch of the same shape comes to lie at the same addresses, so that a captured graph finds the next step's numbers where
it found the last one's. Engine thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from publican.executors.native.batch import Batch, Ints

_ALIGN = 16  # numbers: 64 bytes, so that every array begins where vector loads may
_SHORT_LEN = 16
"""Sequences of so few tokens are attended to with split key-value ranges and small tiles."""


@dataclass(frozen=True, slots=True, eq=False)
class StepInputs:
    """A batch of M tokens of S sequences on one device, int32.

    Attributes:
        tokens, positions, owners: [M]; pages: [S, P]; logit_rows, hidden_rows: as `Batch` has them.
        windowed_pages: [S, P], of layers with a window; None where those have no pages apart.
        short, long: [B, 3], what programs of the attention kernel do: (sequence, first row, number of rows), for
            sequences of a few tokens, and for others.
        adapters: [M]; 1 and the number of each token's adapter, 0 for none.
        batch: the same on the host.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    owners: torch.Tensor
    pages: torch.Tensor
    logit_rows: torch.Tensor
    hidden_rows: torch.Tensor
    short: torch.Tensor
    long: torch.Tensor
    adapters: torch.Tensor
    batch: Batch
    windowed_pages: torch.Tensor | None = None

    def table(self, is_windowed: bool) -> torch.Tensor:
        """The page tables [S, P] of layers with a window, or of the others. What lies behind a window is no page of the
        sequence's, and must not be read."""
        if not is_windowed:
            return self.pages
        assert self.windowed_pages is not None
        return self.windowed_pages


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """Rows (tokens) per program of the attention kernel, for short and for long sequences."""

    short: int
    long: int


class Inputs:
    """Memory for the batches of a backend, on the host and on each of its devices."""

    def __init__(
        self, devices: Sequence[torch.device], limits: tuple[int, int, int], sizes: BlockSizes, has_windows: bool = False
    ) -> None:
        """`limits`: the most tokens, sequences and pages per sequence; `has_windows`: a sequence has two tables of them."""
        num_tokens, num_sequences, num_pages = limits
        size = 6 * num_tokens + (1 + has_windows) * num_sequences * num_pages + 6 * (num_tokens + num_sequences) + 16 * _ALIGN
        self._on_cuda = any(device.type == "cuda" for device in devices)
        self._host = torch.zeros(size, dtype=torch.int32, pin_memory=self._on_cuda)
        self._devices = [torch.zeros(size, dtype=torch.int32, device=device) for device in devices]
        self._sent: list[Any] = []
        self._sizes = sizes

    def send(self, batch: Batch) -> list[StepInputs]:
        """The batch on each device. What was sent before is overwritten."""
        for event in self._sent:
            event.synchronize()  # the host's memory is still being read
        arrays = self._arrays(batch)
        places: dict[str, tuple[int, tuple[int, ...]]] = {}
        host: NDArray[np.int32] = self._host.numpy()
        end = 0
        for name, array in arrays.items():
            places[name] = end, array.shape
            host[end : end + array.size] = array.reshape(-1)
            end += -(-array.size // _ALIGN) * _ALIGN
        sent = []
        for memory in self._devices:
            memory[:end].copy_(self._host[:end], non_blocking=True)
            views = {name: _view(memory, place, shape) for name, (place, shape) in places.items()}
            sent.append(StepInputs(batch=batch, **views))
        self._sent = [_event_on(memory.device) for memory in self._devices] if self._on_cuda else []
        return sent

    def _arrays(self, batch: Batch) -> Mapping[str, Ints]:
        is_short = batch.lengths <= _SHORT_LEN
        windowed = {} if batch.windowed_pages is None else {"windowed_pages": batch.windowed_pages}
        return {
            "tokens": batch.tokens,
            "positions": batch.positions,
            "owners": batch.owners,
            "pages": batch.pages,
            "logit_rows": batch.logit_rows,
            "hidden_rows": batch.hidden_rows,
            "short": blocks(batch, is_short, self._sizes.short),
            "long": blocks(batch, ~is_short, self._sizes.long),
            "adapters": np.zeros_like(batch.owners) if batch.adapters is None else 1 + batch.adapters[batch.owners],
            **windowed,
        }


def blocks(batch: Batch, chosen: NDArray[np.bool_], block_len: int) -> Ints:
    """(sequence, first row, number of rows) of every block of at most `block_len` rows of the chosen sequences, [B, 3]."""
    numbers = np.nonzero(chosen)[0]
    counts = -(-batch.lengths[numbers] // block_len)
    owner = np.repeat(numbers, counts)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.minimum(batch.lengths[owner] - within * block_len, block_len)
    return np.stack([owner, batch.starts[owner] + within * block_len, rows], 1).astype(np.int32)


def _view(memory: torch.Tensor, place: int, shape: tuple[int, ...]) -> torch.Tensor:
    return memory[place : place + int(np.prod(shape))].view(shape)


def _event_on(device: torch.device) -> Any:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
