"""One group's way through one step: its logits, guidance, masks, its samplers in order. Engine thread only; keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from publican.core.ids import TokenId
from publican.engine.sampling.arrays import Array, Space
from publican.engine.sampling.draw import Drawn, draw, likeliest
from publican.engine.sampling.group import Call, Group
from publican.engine.sampling.guidance import guided
from publican.engine.sampling.masks import apply_masks, banned_of
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.rng import Purpose
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.short import ShortWay, likeliest_tokens


class Draw(NamedTuple):
    """Sample for sampler row `row` from row `logits_row` of the logits.

    Attributes:
        mask: which tokens may come at all: int32 words of bits, lowest first, or bool [V]; None for all.
        banned: tokens that may not come this time.
        uncond_row: the row of logits without the prompt, for guidance.
    """

    row: int
    logits_row: int
    mask: Any = None
    banned: Sequence[TokenId] = ()
    uncond_row: int | None = None

    @property
    def is_plain(self) -> bool:
        return self.mask is None and not self.banned and self.uncond_row is None


def own_logits(space: Space, logits: Array, draws: Sequence[Draw], may_write: bool) -> Array:
    """The rows of `logits` [N, V] that these draws want, as [B, V] that may be written to: a view where that is possible."""
    index = [draw.logits_row for draw in draws]
    first, count = index[0], len(index)
    xp = space.xp
    if index == list(range(first, first + count)):
        part = logits[first : first + count, :]
        part = part if may_write else xp.asarray(part, copy=True)
    else:
        part = space.rows_of(logits, space.put(np.array(index, dtype=np.int64)))
    return part if part.dtype in (xp.float32, xp.float64) else xp.astype(part, xp.float32)


def guide(passes: Passes, part: Array, logits: Array, draws: Sequence[Draw], group: Group) -> None:
    """Put guided logits in the place of those rows of `part` that have a row without the prompt."""
    for i, (one, state) in enumerate(zip(draws, group.batch.states, strict=True)):
        scale = state.params.guidance_scale
        if one.uncond_row is not None and scale != 1.0:
            without = passes.xp.astype(logits[one.uncond_row : one.uncond_row + 1, :], part.dtype)
            part[i : i + 1, :] = guided(passes, part[i : i + 1, :], without, scale)


def through_samplers(group: Group, rows: Rows, draws: Sequence[Draw]) -> None:
    """Everything up to the draw."""
    begin(group, rows, draws)
    run(group, rows, group.calls)


def begin(group: Group, rows: Rows, draws: Sequence[Draw]) -> None:
    """What comes before all samplers: sound logits, masks."""
    group.batch.begin()
    rows.repair()
    rows.min_keep = group.batch.keep("min_keep", lambda: _min_keep(group, rows))
    _mask(group, rows, draws)


def run(group: Group, rows: Rows, calls: Sequence[Call]) -> None:
    for call in calls:
        call.sampler.apply(rows, group.batch, call.steps)


def chosen(group: Group, rows: Rows) -> Drawn:
    """What comes out: the likeliest token of greedy rows, a drawn one of the others; feedback samplers are told."""
    if group.is_greedy:
        return likeliest(rows)
    drawn = draw(rows, group.batch.uniform(Purpose.TOKEN))
    for sampler in group.feedback:
        sampler.accept(rows, group.batch, drawn)
    return drawn


def tokens_quickly(group: Group, logits: Array, draws: Sequence[Draw]) -> list[int] | None:
    """The tokens of a quick group, from `logits` [N, V] as they are; None if the usual way must be gone."""
    first = end = draws[0].logits_row
    for one in draws:
        if one.logits_row != end or not one.is_plain:
            return None
        end += 1
    part = logits[first:end]
    if group.is_greedy:
        return likeliest_tokens(part)
    group.batch.begin()
    return tokens_the_short_way(group, part)


def tokens_the_short_way(group: Group, logits: Array) -> list[int] | None:
    """The drawn tokens of a group that has recipes, behind its edits; None if it must go the batch's way."""
    assert group.recipes is not None
    way = group.way
    if way is None or not way.fits(logits):
        way = group.way = ShortWay(group.batch.passes, group.recipes, logits)
    return way.draw(logits, group.batch.uniform_list(Purpose.TOKEN))


def _min_keep(group: Group, rows: Rows) -> Array | None:
    counts = [max(1, state.params.min_keep) for state in group.batch.states]
    return None if max(counts) == 1 else rows.space.put(np.array(counts, dtype=np.int64)[:, None])


def _mask(group: Group, rows: Rows, draws: Sequence[Draw]) -> None:
    masks = [(i, one.mask) for i, one in enumerate(draws) if one.mask is not None]
    if masks:
        apply_masks(rows, group.batch, masks)
    if any(one.banned for one in draws):
        which, tokens = banned_of([one.banned for one in draws], rows.num_vocab)
        rows.ban(rows.space.put(which), rows.space.put(tokens))
