"""Drawing a token: the inverse of the cumulative distribution, walked in order of token ids. Engine thread only."""

from __future__ import annotations

from typing import NamedTuple

from publican.engine.sampling.arrays import Array
from publican.engine.sampling.rows import BLOCK_LEN, Rows

_BELOW_ONE = 1.0 - 2.0**-52


class Drawn(NamedTuple):
    """What was drawn of each row: columns, tokens, int64 [B, 1]."""

    columns: Array
    tokens: Array


def draw(rows: Rows, uniform: Array) -> Drawn:
    """The token on which `uniform`, float64 [B, 1] in [0, 1), falls: the first whose running probability exceeds it."""
    if rows.tokens is not None:
        columns = _first_above(rows, rows.space.running(rows.weights), uniform)
        return Drawn(columns, rows.xp.take_along_axis(rows.tokens, columns, axis=-1))
    columns = _draw_whole(rows, uniform)
    return Drawn(columns, columns)


def likeliest(rows: Rows) -> Drawn:
    """The token with the highest logit; of equals the one with the lowest id."""
    columns = rows.xp.argmax(rows.logits, axis=-1, keepdims=True)
    if not bool(rows.xp.all(rows.xp.isfinite(rows.xp.take_along_axis(rows.logits, columns, axis=-1)))):
        rows.repair()
        columns = rows.xp.argmax(rows.logits, axis=-1, keepdims=True)
    return Drawn(columns, columns if rows.tokens is None else rows.xp.take_along_axis(rows.tokens, columns, axis=-1))


def _first_above(rows: Rows, running: Array, uniform: Array) -> Array:
    total = running[:, -1:]
    # a product that rounds up to the total would fall on no token at all
    target = rows.xp.minimum(uniform * total, total * _BELOW_ONE)
    return rows.space.count(running <= target)


def _draw_whole(rows: Rows, uniform: Array) -> Array:
    """Find the block first, so that no running sum goes over the whole vocabulary."""
    xp = rows.xp
    blocks = rows.blocks
    block = _first_above(rows, blocks, uniform)
    before = xp.where(block > 0, xp.take_along_axis(blocks, xp.maximum(block - 1, xp.zeros_like(block)), axis=-1), 0.0)
    offsets = xp.reshape(xp.arange(BLOCK_LEN, dtype=block.dtype, device=rows.space.device), (1, -1))
    columns = xp.minimum(block * BLOCK_LEN + offsets, xp.full_like(offsets, rows.num_vocab - 1))
    weights = xp.take_along_axis(rows.weights, columns, axis=-1)
    weights = xp.where(block * BLOCK_LEN + offsets < rows.num_vocab, weights, xp.zeros_like(weights))
    running = rows.space.running(weights)
    total = running[:, -1:]
    target = xp.minimum(uniform * blocks[:, -1:] - before, total * _BELOW_ONE)
    return block * BLOCK_LEN + rows.space.count(running <= target)
