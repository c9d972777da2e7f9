"""Zeroed memory in large pages where the system has them: raw reading is a third faster so, and more in the caches."""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGE = 1 << 21


def allocate_bytes(size: int) -> NDArray[np.uint8]:
    """`size` zero bytes, begun at a large page's border. Not touched yet: what is never written costs nothing.

    Raises:
        MemoryError
    """
    try:
        # Private where there is a choice: shared memory has no large pages on most systems.
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        mapped = mmap.mmap(-1, size + _LARGE, **private)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryError(f"{size:,} bytes of memory were refused") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them: small pages are slower, not wrong
            mapped.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(mapped, np.uint8)
    start = -whole.ctypes.data % _LARGE
    return whole[start : start + size]


def allocate(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """A zeroed array in memory of its own."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    array: NDArray[Any] = allocate_bytes(size).view(kind).reshape(shape)
    return array


class Arena:
    """Many pieces of memory out of few mappings: a large page that two matrices share is not paid for twice."""

    def __init__(self, chunk_bytes: int = 64 << 20, align: int = 64) -> None:
        self._chunk_bytes = chunk_bytes
        self._align = align
        self._rest = np.empty(0, np.uint8)
        self.num_bytes = 0

    def allocate(self, size: int) -> NDArray[np.uint8]:
        """`size` zero bytes, aligned; they live as long as somebody refers to them or to their neighbours."""
        room = -(-size // self._align) * self._align
        if room > len(self._rest):
            self._rest = allocate_bytes(max(room, self._chunk_bytes))
        piece, self._rest = self._rest[:size], self._rest[room:]
        self.num_bytes += room
        return piece
