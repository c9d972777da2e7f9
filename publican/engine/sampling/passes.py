"""`Passes`: all that is done to whole rows, V numbers wide. What is faster somewhere replaces methods; results stay the same.

Everything behind the first truncation works on survivors, so the time of a step is here. None of this decides anything: what
a pass leaves out can be shown not to matter, and the caller then looks at what is left exactly.
"""

from __future__ import annotations

from typing import NamedTuple

from publican.core.executor import Top
from publican.engine.sampling.arrays import Array, Host, Space

BLOCK_LEN = 256
"""A whole row is summed, and searched, in blocks of this many tokens."""

_GROUP_LENS = (64, 16)
_GROUP_LEN = 64
_MOST_OF_GROUPS = 8
"""Where more than one group in so many has something to show, whole rows are looked at."""
_GROUPS_FROM = 1 << 18
"""Fewer numbers are looked at sooner than the operations of the way by groups are called."""
_SAMPLE_EVERY = 64
_FITTING = 1 << 19
"""So many numbers are worked on together: two megabytes of float32."""


class Heaviest(NamedTuple):
    """Tokens of whole rows: their flat positions, ascending, and the weight, [B, 1], that they reach and no others do."""

    flat: Array
    floor: Array


class Best(NamedTuple):
    """The best of each row, highest logit first, of equals the lowest id first: ids, and logits [B, count] of NumPy."""

    tokens: list[list[int]]
    logits: Host


class Passes:
    """The passes in terms of the array API standard. Arrays are [B, V] unless said otherwise.

    Args:
        num_vocab: V.
        top: the executor's, where it finds the best of its rows faster than that.

    Attributes:
        most_rows: a larger group is parted. On NumPy, because what a few rows become fits into the caches and what many
            become does not; elsewhere never.
    """

    def __init__(self, space: Space, num_vocab: int, top: Top | None = None) -> None:
        self.space = space
        self.xp = space.xp
        self.most_rows = max(1, _FITTING // num_vocab) if space.is_numpy else 2**31
        self._top = top if space.is_numpy else None
        # torch on the CPU takes ten times as long for a comparison and its `nonzero` as for a maximum, NumPy no longer; and
        # on a card it would be one more wait for a number of results
        self._groups_from = _GROUPS_FROM if space.is_torch and str(space.device) == "cpu" else 2**62

    def best(self, logits: Array, count: int) -> Best | None:
        """The `count` best of each row; None where nothing finds them fast, or rows are hardly longer."""
        if self._top is None or logits.dtype != self.xp.float32 or 2 * count > logits.shape[1]:
            return None
        tokens, values = self._top(logits, count)
        return Best(tokens.tolist(), values)

    def peak(self, logits: Array) -> Array:
        """The highest of each row, [B, 1]; not a number if any is none."""
        return self.xp.max(logits, axis=-1, keepdims=True)

    def likeliest(self, logits: Array) -> Array:
        """The column of the highest, of equals the first: int64 [B, 1]."""
        return self.xp.argmax(logits, axis=-1, keepdims=True)

    def above(self, values: Array, floor: Array) -> Array:
        """The flat positions of the values that reach `floor` [B, 1], ascending."""
        num_rows, size = values.shape
        is_large = num_rows * size >= self._groups_from and size >= _GROUP_LEN
        flat = self._above_in_groups(values, floor) if is_large else None
        return self.space.where(values >= floor) if flat is None else flat

    def _above_in_groups(self, values: Array, floor: Array) -> Array | None:
        """As `above`: only in those groups whose highest reaches the floor. None where these are too many to be worth it.

        A group is every `size // _GROUP_LEN`-th column, as the maximum over them is the fastest there is.
        """
        xp = self.xp
        num_rows, size = values.shape
        width = size // _GROUP_LEN
        end = width * _GROUP_LEN
        highest = xp.max(xp.reshape(values[:, :end], (num_rows, _GROUP_LEN, width)), axis=1)
        groups = self.space.where(~(highest < floor))  # a group with what is no number may have something to show
        if groups.shape[0] * _MOST_OF_GROUPS > num_rows * width:
            return None
        which = groups // width
        first = xp.reshape(which * (size - width) + groups, (-1, 1))
        members = xp.arange(0, end, width, dtype=first.dtype, device=self.space.device)
        places = xp.reshape(first + xp.reshape(members, (1, -1)), (-1,))
        found = xp.reshape(self.space.at(values, places), (-1, _GROUP_LEN))
        flat = self.space.at(places, self.space.where(found >= xp.reshape(self.space.at(floor, which), (-1, 1))))
        if end < size:
            rest = self.space.where(values[:, end:] >= floor)
            flat = xp.concat((flat, rest // (size - end) * end + rest + end), axis=0)
        return xp.sort(flat)

    def sums(self, values: Array, factors: Array | None = None) -> Array:
        """The running sums over blocks of each row, of `values` or of their products with `factors`: float64 [B, blocks]."""
        xp = self.xp
        body = _in_blocks(xp, values)
        if self.space.is_numpy:  # it has the dot product from BLAS, three times as fast as its sum
            sums = xp.vecdot(body, xp.ones(BLOCK_LEN, dtype=body.dtype) if factors is None else _in_blocks(xp, factors))
        else:
            sums = xp.sum(body if factors is None else body * _in_blocks(xp, factors), axis=-1)
        end = sums.shape[1] * BLOCK_LEN
        if end < values.shape[1]:
            rest = values[:, end:] if factors is None else values[:, end:] * factors[:, end:]
            sums = xp.concat((sums, xp.sum(rest, axis=-1, keepdims=True)), axis=-1)
        return self.space.running(sums)

    def num_adding_up(self, values: Array, share: Array) -> tuple[Array, Array]:
        """`Rows.num_adding_up`. The block is found first, so that no running sum goes over the whole row."""
        xp, space = self.xp, self.space
        size = values.shape[1]
        blocks = self.sums(values)
        block = space.num_within(blocks, share)
        before = xp.where(block > 0, space.pick(blocks, xp.maximum(block - 1, xp.zeros_like(block))), 0.0)
        places = block * BLOCK_LEN + xp.reshape(xp.arange(BLOCK_LEN, dtype=block.dtype, device=space.device), (1, -1))
        inner = xp.take_along_axis(values, xp.minimum(places, xp.full_like(places, size - 1)), axis=-1)
        running = space.running(xp.where(places < size, inner, xp.zeros_like(inner)))
        total = running[:, -1:]
        # blocks are summed in the precision of `values`, so the target may lie a hair beyond the block's end
        left = share * blocks[:, -1:] - before
        some = total > 0.0
        within = space.num_within(running, xp.where(some, left / xp.where(some, total, 1.0), 0.0))
        return block * BLOCK_LEN + within, blocks[:, -1:]

    def floor_for(self, logits: Array, count: Array, most: int | None = None) -> Array:
        """A logit that at least `count`, int64 [B, 1], of each row reach, or the lowest there is; never -inf.

        The row is dealt into groups; if `count` groups have a member that reaches it, so do `count` tokens. `most` is the
        largest count, for whoever knows it: else a card is waited for.
        """
        xp = self.xp
        num_rows, size = logits.shape
        most = int(xp.max(count)) if most is None else most
        values = logits
        for length in _GROUP_LENS:
            num_groups = size // length
            if 2 * most <= num_groups:
                values = xp.max(xp.reshape(logits[:, : num_groups * length], (num_rows, length, num_groups)), axis=1)
                break
        nth = self.space.nth(self.space.descending(values), count)
        return xp.maximum(nth, xp.full_like(nth, xp.finfo(nth.dtype).min))

    def heaviest(self, weights: Array, total: Array, mass: Array) -> Heaviest:
        """Likeliest tokens that together weigh at least `mass` of `total`, float64 [B, 1] both: those, and maybe more.

        What may be left out is a tail that weighs total - mass. A sample of the row tells about where that begins; then what
        is above is added up, so a bad guess costs time and nothing else. Tokens that weigh less than spare / V each weigh
        less than spare together, so the last resort is sure.
        """
        xp = self.xp
        spare = xp.where(total > mass, total - mass, xp.zeros_like(total))
        sample = xp.sort(weights[:, ::_SAMPLE_EVERY], axis=-1)
        tail = self.space.running(sample) * _SAMPLE_EVERY
        floor = enough = None
        for share in (0.7, 0.3, 0.0):
            guess = self._where_tail_ends(sample, tail, share * spare) if share else spare / (2 * weights.shape[1])
            guess = (
                xp.astype(guess, weights.dtype) + xp.finfo(weights.dtype).smallest_normal
            )  # what weighs nothing never counts
            floor = guess if floor is None else xp.where(enough, floor, guess)
            flat = self.above(weights, floor)
            enough = self._mass(weights, flat) >= mass
            if bool(xp.all(enough)):
                break
        return Heaviest(flat, floor)

    def _where_tail_ends(self, sample: Array, tail: Array, spare: Array) -> Array:
        """The lightest of the ascending `sample` that is not among what adds up, in `tail`, to `spare` at most."""
        xp = self.xp
        place = self.space.count(tail <= spare)
        return self.space.pick(sample, xp.minimum(place, xp.full_like(place, sample.shape[1] - 1)))

    def _mass(self, weights: Array, flat: Array) -> Array:
        """What the tokens at these flat positions weigh together, a trifle too low: float64 [B, 1]."""
        xp = self.xp
        num_rows, size = weights.shape
        running = self.space.running(self.space.at(weights, flat))
        if num_rows > 1:
            running = xp.concat((xp.zeros(1, dtype=running.dtype, device=self.space.device), running))
            starts = xp.arange(num_rows + 1, dtype=xp.int64, device=self.space.device) * size
            at_borders = self.space.at(running, xp.searchsorted(flat, starts))
            running = at_borders[1:] - at_borders[:-1]
        return xp.reshape(running[-num_rows:], (-1, 1)) * (1.0 - 1e-9)


def _in_blocks(xp: object, values: Array) -> Array:
    """The part of [B, V] that is full blocks, [B, blocks, BLOCK_LEN]."""
    num_blocks = values.shape[1] // BLOCK_LEN
    return xp.reshape(values[:, : num_blocks * BLOCK_LEN], (values.shape[0], num_blocks, BLOCK_LEN))  # type: ignore[attr-defined]
