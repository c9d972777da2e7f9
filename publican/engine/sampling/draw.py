"""Drawing a token: the inverse of the cumulative distribution, walked in order of token ids. Engine thread only."""

from __future__ import annotations

from typing import NamedTuple

from publican.engine.sampling.arrays import Array
from publican.engine.sampling.rows import Rows


class Drawn(NamedTuple):
    """What was drawn of each row: columns, tokens, int64 [B, 1]."""

    columns: Array
    tokens: Array


def draw(rows: Rows, uniform: Array) -> Drawn:
    """The token on which `uniform`, float64 [B, 1] in [0, 1), falls: the first whose running probability exceeds it."""
    return _drawn(rows, rows.num_adding_up(rows.weights, uniform)[0])


def likeliest(rows: Rows) -> Drawn:
    """The token with the highest logit; of equals the one with the lowest id."""
    columns = rows.passes.likeliest(rows.logits)
    if not bool(rows.xp.all(rows.xp.isfinite(rows.space.pick(rows.logits, columns)))):
        rows.repair()
        columns = rows.passes.likeliest(rows.logits)
    return _drawn(rows, columns)


def _drawn(rows: Rows, columns: Array) -> Drawn:
    return Drawn(columns, columns if rows.tokens is None else rows.space.pick(rows.tokens, columns))
