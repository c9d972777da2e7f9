"""Memory: zeroed, aligned, and not paid for twice."""

from __future__ import annotations

import numpy as np
import pytest

from publican.executors.native.cpu.memory import Arena, allocate, allocate_bytes


def test_allocations_are_zero_and_aligned() -> None:
    array = allocate((3, 1000), np.float32)
    assert array.shape == (3, 1000)
    assert not array.any()
    assert array.ctypes.data % (1 << 21) == 0
    array[:] = 1


def test_an_arena_gives_pieces_that_do_not_overlap() -> None:
    arena = Arena(chunk_bytes=1 << 16)
    pieces = [arena.allocate(size) for size in (1, 100, 65_536, 64, 200_000, 7)]
    for number, piece in enumerate(pieces):
        assert piece.ctypes.data % 64 == 0
        piece[:] = number + 1
    assert all((piece == number + 1).all() for number, piece in enumerate(pieces))
    assert arena.num_bytes == sum(-(-len(piece) // 64) * 64 for piece in pieces)


def test_more_than_there_is() -> None:
    with pytest.raises(MemoryError, match="refused"):
        allocate_bytes(1 << 62)
