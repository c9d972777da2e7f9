"""Masks of allowed tokens, which change from step to step: a grammar's bits, or a row of booleans. Knows no grammar.

A mask is int32 words whose bits, lowest first, are the tokens (as xgrammar and llguidance give them), or bool [V]. It becomes
a row of 0 and -inf, by way of a table that turns a byte into eight numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from publican.engine.sampling.arrays import Array, Host, Space


def barrier(space: Space, mask: Any, num_vocab: int, table: Array) -> Array:
    """0 where `mask` allows a token and -inf elsewhere: [1, V]. `table` is `byte_table`'s."""
    octets = _octets(mask, num_vocab)
    index = space.put(octets) if space.is_numpy else space.put(octets, space.xp.int64)
    return space.xp.reshape(space.xp.take(table, index, axis=0), (1, -1))[:, :num_vocab]


def byte_table(space: Space, dtype: Any) -> Array:
    """[256, 8]: for each byte, 0 where its bit is set and -inf where not."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return space.put(np.where(bits == 1, 0.0, -math.inf), dtype)


def _octets(mask: Any, num_vocab: int) -> Host:
    array = np.asarray(mask).reshape(-1)
    octets = np.packbits(array, bitorder="little") if array.dtype == np.bool_ else np.ascontiguousarray(array).view(np.uint8)
    short = -(-num_vocab // 8) - len(octets)
    return np.concatenate((octets, np.zeros(short, dtype=np.uint8))) if short > 0 else octets


def banned_of(banned: Sequence[Sequence[int]], num_vocab: int) -> tuple[Host, Host]:
    """Rows and tokens of lists of banned tokens, one list per row."""
    kept = [sorted({token for token in some if 0 <= token < num_vocab}) for some in banned]
    which = np.repeat(np.arange(len(kept)), [len(some) for some in kept])
    return which, np.array([token for some in kept for token in some], dtype=np.int64)
