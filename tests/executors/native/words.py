"""Packs small numbers into 32-bit words with Python's own integers, one column at a time: the writers' side of the formats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stream(values: Sequence[int], bits: int) -> list[int]:
    """One stream of bits, least significant first, as words; zeros fill the last."""
    number = sum(int(value) << bits * i for i, value in enumerate(values))
    return [number >> 32 * i & 0xFFFFFFFF for i in range(-(-len(values) * bits // 32))]


def down(codes: np.ndarray, bits: int) -> np.ndarray:
    """[K, N] codes packed down each column: int32 [words, N]."""
    return np.array([stream(column, bits) for column in codes.T], np.uint32).T.view(np.int32)


def across(codes: np.ndarray, bits: int) -> np.ndarray:
    """[G, N] codes packed along each row: int32 [G, words]."""
    return np.array([stream(row, bits) for row in codes], np.uint32).view(np.int32)
