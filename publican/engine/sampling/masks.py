"""Masks of allowed tokens, which change from step to step: a grammar's bits, or a row of booleans. Knows no grammar.

A mask is int32 words whose bits, lowest first, are the tokens (as xgrammar and llguidance give them), or bool [V]. It becomes
a row of 0 and -inf, by way of a table that turns a byte into eight numbers, and is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from publican.engine.sampling.arrays import Array, Host, Space
from publican.engine.sampling.batch import Batch
from publican.engine.sampling.rows import Rows

_CHUNK_BYTES = 8192
"""So much of a mask is worked on at once: what it becomes, 256 KiB, stays in a core's cache."""


def apply_masks(rows: Rows, batch: Batch, masks: Sequence[tuple[int, Any]]) -> None:
    """Leave of the whole rows in `masks`, ascending, what theirs allow; a row that would have nothing left stays as it was."""
    table = batch.keep("byte table", lambda: _byte_table(rows.space, rows.logits.dtype))
    octets = [(i, _octets(mask, rows.num_vocab)) for i, mask in masks]
    if rows.is_plain_host:
        room = batch.keep("mask room", lambda: np.empty((_CHUNK_BYTES, 8), rows.logits.dtype))
        octets = [(i, some) for i, some in octets if not _mask_in_place(rows.logits[i], some, table, room)]
        rows.changed()
    if octets:
        add_to_rows(rows, [i for i, _ in octets], _barriers(rows, np.stack([some for _, some in octets]), table))


def add_to_rows(rows: Rows, which: Sequence[int], values: Array) -> None:
    """Add `values` [n, V] to the whole rows `which`, ascending; one that would have nothing left stays as it was."""
    xp, space = rows.xp, rows.space
    are_all = len(which) == rows.num_rows
    before = rows.logits if are_all else space.rows_of(rows.logits, space.put(np.array(which, dtype=np.int64)))
    changed = before + values
    peak = rows.passes.peak(changed)
    is_alive = peak > -xp.inf
    if not bool(xp.all(is_alive)):  # one wait for all rows
        changed, peak = xp.where(is_alive, changed, before), None
    if are_all:
        rows.replace(changed, peak)
        return
    for place, row in enumerate(which):
        rows.logits[row : row + 1, :] = changed[place : place + 1, :]
    rows.changed()


def _mask_in_place(row: Host, octets: Host, table: Host, room: Host) -> bool:
    """Mask `row` [V] of NumPy where it lies, if it is plain that something stays: one of the tokens allowed is still in."""
    place = int((octets != 0).argmax())
    token = 8 * place + (int(octets[place]) & -int(octets[place])).bit_length() - 1
    if not (octets[place] and token < len(row) and row[token] > -math.inf):
        return False
    for start in range(0, len(octets), _CHUNK_BYTES):
        some = octets[start : start + _CHUNK_BYTES]
        barrier = np.take(table, some, axis=0, out=room[: len(some)], mode="clip").reshape(-1)
        part = row[8 * start : 8 * (start + len(some))]
        np.add(part, barrier[: len(part)], out=part)
    return True


def _barriers(rows: Rows, octets: Host, table: Array) -> Array:
    """0 where a mask, a row of bytes [n, V / 8], allows a token, and -inf elsewhere: [n, V]."""
    xp, space = rows.xp, rows.space
    index = xp.reshape(xp.astype(space.put(octets), xp.int64), (-1,))
    return xp.reshape(space.rows_of(table, index), (octets.shape[0], -1))[:, : rows.num_vocab]


def _byte_table(space: Space, dtype: Any) -> Array:
    """[256, 8]: for each byte, 0 where its bit is set and -inf where not."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return space.put(np.where(bits == 1, 0.0, -math.inf), dtype)


def _octets(mask: Any, num_vocab: int) -> Host:
    array = np.asarray(mask).reshape(-1)
    octets = np.packbits(array, bitorder="little") if array.dtype == np.bool_ else np.ascontiguousarray(array).view(np.uint8)
    size = -(-num_vocab // 8)
    return octets[:size] if len(octets) >= size else np.concatenate((octets, np.zeros(size - len(octets), dtype=np.uint8)))


def banned_of(banned: Sequence[Sequence[int]], num_vocab: int) -> tuple[Host, Host]:
    """Rows and tokens of lists of banned tokens, one list per row."""
    kept = [sorted({token for token in some if 0 <= token < num_vocab}) for some in banned]
    which = np.repeat(np.arange(len(kept)), [len(some) for some in kept])
    return which, np.array([token for some in kept for token in some], dtype=np.int64)
