"""`Rows`: the distributions of a batch on their way through the samplers. Engine thread only; knows no sampler.

A batch begins *whole*: one column per token of the vocabulary. The first truncation makes it *cut*: only survivors are left,
one column each, in order of their token ids, and rows with fewer survivors are padded with -inf at the end. So everything
behind the first truncation works on hundreds of numbers instead of hundreds of thousands.

What a row becomes depends on that row alone, to the last bit: sums over a cut row are running sums in float64, which padding
does not change, and sums over a whole row are made of blocks whose borders depend on the vocabulary alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from publican.engine.sampling.arrays import Array
from publican.engine.sampling.passes import Heaviest, Passes

_SHRINK_FROM = 2048


class Picked(NamedTuple):
    """Places in rows, packed to the left: flat positions, int64 [B, K]; where `inside` (None: everywhere) is false is none."""

    places: Array
    inside: Array | None


class Rows:
    """Logits of B rows.

    Attributes:
        logits: [B, N], -inf where a token is out; multiplied by `scale` they are the current logits.
        scale: [B, 1], or None for 1.
        tokens: int64 [B, N], ascending, padded with `num_vocab`; None while whole.
        min_keep: int64 [B, 1]: truncation leaves at least that many; None for one.
    """

    def __init__(self, passes: Passes, logits: Array) -> None:
        self.passes = passes
        self.space = passes.space
        self.xp = passes.xp
        self.logits = logits
        self.scale: Array | None = None
        self.tokens: Array | None = None
        self.min_keep: Array | None = None
        self.num_rows, self.num_vocab = logits.shape
        self._forget()

    def _forget(self) -> None:
        self._peak: Array | None = None
        self._depths: Array | None = None
        self._weights: Array | None = None
        self._total: Array | None = None
        self._sorted: Array | None = None

    # --- what is known of the current distributions

    @property
    def num_columns(self) -> int:
        width: int = self.logits.shape[1]
        return width

    @property
    def peak(self) -> Array:
        """The highest logit, before `scale`: [B, 1]."""
        if self._peak is None:
            self._peak = self.passes.peak(self.logits)
        return self._peak

    @property
    def depths(self) -> Array:
        """How far each logit lies below the highest, as a number ≤ 0: [B, N]."""
        if self._depths is None:
            self._depths = self._new_depths()
        return self._depths

    def _new_depths(self) -> Array:
        depths = self.logits - self.peak
        if self.scale is not None:
            depths *= self.scale
        return depths

    @property
    def weights(self) -> Array:
        """Probabilities times `total`; the likeliest token has 1: [B, N]."""
        if self._weights is None:
            self._weights = self.space.exp(self._new_depths()) if self._depths is None else self.xp.exp(self._depths)
        return self._weights

    @property
    def total(self) -> Array:
        """The sum of the weights: float64 [B, 1]."""
        if self._total is None:
            self._total = self.sum(self.weights)
        return self._total

    def sum(self, values: Array, factors: Array | None = None) -> Array:
        """The sum over each row of `values`, or of their products with `factors`, [B, N] both: float64 [B, 1]."""
        if self.tokens is None:
            return self.passes.sums(values, factors)[:, -1:]
        return self.space.running(values if factors is None else values * factors)[:, -1:]

    def num_adding_up(self, values: Array, share: Array) -> tuple[Array, Array]:
        """How many columns from the left add up to no more than `share` < 1, [B, 1], of the sum of `values` ≥ 0; and that sum.

        So it is the column on which `share` falls, and that is never one of value 0.

        Returns:
            int64 and float64, [B, 1].
        """
        if self.tokens is None:
            return self.passes.num_adding_up(values, share)
        running = self.space.running(values)
        return self.space.num_within(running, share), running[:, -1:]

    def entropy(self) -> Array:
        """In nats: float64 [B, 1]."""
        xp = self.xp
        # what is so deep weighs nothing, and 0 times infinity is no number
        depths = xp.maximum(self.depths, xp.asarray(-1e4, dtype=self.depths.dtype))
        moments = self.sum(self.weights, depths)
        return xp.log(self.total) - moments / self.total

    def descending_weights(self) -> Array:
        """The weights, largest first."""
        depths = self._descending - self.peak
        return self.xp.exp(depths if self.scale is None else depths * self.scale)

    @property
    def _descending(self) -> Array:
        if self._sorted is None:
            self._sorted = self.space.descending(self.logits)
        return self._sorted

    def num_left(self) -> Array:
        """How many tokens are still in: int64 [B, 1]."""
        return self.space.count(self.logits > -self.xp.inf)

    def best(self, count: int) -> Array:
        """The `count` highest current logits of each row, descending, -inf where there are fewer: [B, ≤ count]."""
        values = self.logits
        if self.tokens is None and 2 * count < self.num_vocab:
            values = self.values_at(self.above_nth(count), values, -self.xp.inf)
        values = self.space.descending(values)[:, : min(count, values.shape[1])]
        return values if self.scale is None else values * self.scale

    def above_nth(self, count: int) -> Picked:
        """Places of whole rows among which are the `count` highest logits of each."""
        wanted = self.xp.full((self.num_rows, 1), count, dtype=self.xp.int64, device=self.space.device)
        return self._packed(self.passes.above(self.logits, self.passes.floor_for(self.logits, wanted, count)))

    # --- what changes them

    def rescale(self, factor: Array) -> None:
        """Multiply the current logits of each row by `factor` > 0, [B, 1]. Done only when somebody needs the result."""
        self.scale = factor if self.scale is None else self.scale * factor
        peak = self._peak
        self._forget()
        self._peak = peak

    def settle(self) -> None:
        """Make `scale` part of `logits`."""
        if self.scale is not None:
            self.replace(self.logits * self.scale)

    def replace(self, logits: Array, peak: Array | None = None) -> None:
        """New current logits, -inf wherever they were; and their peak, if it is known."""
        self.logits = logits
        self.scale = None
        self._forget()
        self._peak = peak

    def keep_within(self, distance: Array) -> None:
        """Keep the tokens at most `distance` ≥ 0, [B, 1], below the highest; infinity keeps all."""
        xp = self.xp
        if self.scale is not None:
            distance = distance / self.scale
        floor = xp.astype(self.peak - distance, self.logits.dtype)
        if self.min_keep is None:
            self._keep_above(floor)
            return
        if self.tokens is None:
            self._keep_above(xp.minimum(floor, self.passes.floor_for(self.logits, self.min_keep)))
        self.keep((self.logits >= floor) | self._is_best(self.min_keep))

    def keep_probability(self, least: Array) -> None:
        """Keep the tokens of at least this probability, float64 [B, 1], and always the likeliest."""
        xp = self.xp
        weight = least * self.total
        on = weight > 0.0
        distance = xp.where(on, -xp.log(xp.where(on, weight, xp.ones_like(weight))), xp.inf)
        self.keep_within(xp.maximum(distance, xp.zeros_like(distance)))

    def keep_best(self, count: Array, equals: Array | None = None, most: int | None = None) -> None:
        """Keep the `count` ≥ 1, int64 [B, 1], highest; of equals the lowest ids, or where `equals` all that equal the last.

        `most` is the largest count, for whoever knows it.
        """
        if self.min_keep is not None:
            count, most = self.xp.maximum(count, self.min_keep), None
        if self.tokens is None:
            self._keep_above(self.passes.floor_for(self.logits, count, most))
        self.keep(self._is_best(count, equals))

    def keep(self, mask: Array, has_peak: bool = True) -> None:
        """Keep the columns in `mask` [B, N], at least one of each row; `has_peak`: the highest is among them."""
        peak = self._peak if has_peak else None
        if self.tokens is None:
            self.take(self._packed(self.space.where(mask)))
        else:
            self.logits = self.xp.where(mask, self.logits, -self.xp.inf)
            if self.num_rows * self.num_columns > _SHRINK_FROM:
                self._shrink(mask)
        self._forget()
        self._peak = peak

    def _keep_above(self, floor: Array) -> None:
        if self.tokens is None:
            self.take_flat(self.passes.above(self.logits, floor))
        else:
            self.keep(self.logits >= floor)

    def _shrink(self, mask: Array) -> None:
        """Leave out columns, if that makes cut rows half as wide. What is left does not change by it."""
        if 2 * int(self.xp.max(self.space.count(mask))) < self.num_columns:
            self.take(self._packed(self.space.where(self.logits > -self.xp.inf)))

    def keep_first(self, chosen: Array) -> None:
        """In the rows of `chosen`, bool [B, 1], keep nothing but the highest. The others are not touched; whole stays whole."""
        xp = self.xp
        best = xp.argmax(self.logits, axis=-1, keepdims=True)
        columns = xp.reshape(xp.arange(self.num_columns, dtype=best.dtype, device=self.space.device), (1, -1))
        peak = self._peak
        self.logits = xp.where((columns == best) | ~chosen, self.logits, -xp.inf)
        self._forget()
        self._peak = peak

    def heaviest(self, mass: Array) -> Heaviest:
        """Likeliest tokens of whole rows, at least `min_keep`, that together weigh at least `mass`, [B, 1]; maybe more."""
        xp = self.xp
        found = self.passes.heaviest(self.weights, self.total, mass)
        if self.min_keep is None:
            return found
        nth = self.passes.floor_for(self.logits, self.min_keep) - self.peak
        nth = xp.exp(nth if self.scale is None else nth * self.scale) * (1.0 - 1e-6)
        floor = xp.minimum(found.floor, xp.astype(nth, found.floor.dtype))
        return Heaviest(self.passes.above(self.weights, floor), floor)

    # --- single tokens

    def find(self, rows: Array, tokens: Array) -> tuple[Array, Array, Array | None]:
        """Where `tokens` [n] of `rows` [n] are: rows and columns of those still in, and which these are (None: all)."""
        if self.tokens is None:
            return rows, tokens, None
        xp = self.xp
        stride = self.num_vocab + 1
        width = self.num_columns
        first = xp.reshape(xp.arange(self.num_rows, dtype=xp.int64, device=self.space.device) * stride, (-1, 1))
        keys = xp.reshape(self.tokens + first, (-1,))
        wanted = rows * stride + tokens
        place = xp.searchsorted(keys, wanted)
        place = xp.minimum(place, xp.asarray(keys.shape[0] - 1, dtype=place.dtype, device=self.space.device))
        found = self.space.at(keys, place) == wanted
        rows = rows[found]
        return rows, xp.astype(place[found], xp.int64) - rows * width, found

    def at(self, rows: Array, columns: Array) -> Array:
        """The current logits at these places: [n]."""
        self.settle()
        return self.space.at(self.logits, rows * self.num_columns + columns)

    def set(self, rows: Array, columns: Array, values: Array) -> None:
        """Set the current logits at these places, which `at` has read."""
        self.space.scatter(self.logits, rows, columns, values)
        self._forget()

    def remove(self, rows: Array, columns: Array) -> None:
        """Take what is at these places out. The caller knows that something is left of each row."""
        self.set(rows, columns, self.xp.full(rows.shape[0], -self.xp.inf, dtype=self.logits.dtype, device=self.space.device))

    def shift(self, rows: Array, tokens: Array, amounts: Array) -> None:
        """Add `amounts` [n] to the current logits of `tokens` [n] of `rows` [n], no token of a row twice. -inf bans.

        A row of which nothing would be left stays as it was.
        """
        xp = self.xp
        rows, columns, found = self.find(rows, tokens)
        before = self.at(rows, columns)
        self.set(rows, columns, before + (amounts if found is None else amounts[found]))
        dead = self.peak == -xp.inf
        if bool(xp.any(dead)):
            again = self.space.at(dead, rows)
            self.set(rows[again], columns[again], before[again])

    def ban(self, rows: Array, tokens: Array) -> None:
        """Take `tokens` [n] of `rows` [n] out, unless nothing would be left of the row."""
        self.shift(rows, tokens, self.xp.full(rows.shape[0], -self.xp.inf, dtype=self.logits.dtype, device=self.space.device))

    def repair(self) -> None:
        """Make logits that are no numbers, or infinite, into such as samplers can work with: out, and as high as can be."""
        xp = self.xp
        if self.space.is_numpy:  # in plain Python it takes a tenth of the time
            is_sound = all(math.isfinite(peak) for (peak,) in self.peak.tolist())
        else:
            is_sound = bool(xp.all(xp.isfinite(self.peak)))
        if is_sound:
            return
        most = xp.finfo(self.logits.dtype).max
        logits = xp.where(xp.isnan(self.logits), -xp.inf, xp.where(self.logits > most, most, self.logits))
        nothing = xp.max(logits, axis=-1, keepdims=True) == -xp.inf
        self.replace(xp.where(nothing, xp.zeros_like(logits), logits))

    def whole_logits(self) -> Array:
        """The current logits with a column per token: [B, V]."""
        xp = self.xp
        self.settle()
        if self.tokens is None:
            return self.logits
        whole = xp.full((self.num_rows, self.num_vocab), -xp.inf, dtype=self.logits.dtype, device=self.space.device)
        flat = self.space.where(self.logits > -xp.inf)
        which = flat // self.num_columns
        tokens = self.space.at(self.tokens, flat)
        self.space.scatter(whole, which, tokens, self.space.at(self.logits, flat))
        return whole

    @property
    def is_plain_host(self) -> bool:
        """Whether `logits` are NumPy's, whole and not to be scaled, so that a caller may change them itself; see `changed`."""
        return self.space.is_numpy and self.tokens is None and self.scale is None

    def changed(self) -> None:
        """Somebody wrote to `logits`."""
        self._forget()

    # --- gathering

    def gather(self, mask: Array) -> Picked:
        """The columns in `mask` [B, N], packed to the left: [B, K], K the most that any row has."""
        return self._packed(self.space.where(mask))

    def _packed(self, flat: Array) -> Picked:
        xp = self.xp
        if self.num_rows == 1:
            return Picked(xp.reshape(flat, (1, -1)), None)
        borders = xp.searchsorted(flat, self._starts)
        counts = xp.reshape(borders[1:] - borders[:-1], (-1, 1))
        places = xp.reshape(xp.arange(int(xp.max(counts)), dtype=counts.dtype, device=self.space.device), (1, -1))
        index = xp.minimum(places + xp.reshape(borders[:-1], (-1, 1)), xp.full_like(places, flat.shape[0] - 1))
        return Picked(xp.reshape(self.space.at(flat, xp.reshape(index, (-1,))), index.shape), places < counts)

    def values_at(self, picked: Picked, values: Array, missing: float) -> Array:
        """`values` [B, N] at what was picked, `missing` where there is nothing: [B, K]."""
        xp = self.xp
        found = xp.reshape(self.space.at(values, xp.reshape(picked.places, (-1,))), picked.places.shape)
        return found if picked.inside is None else xp.where(picked.inside, found, missing)

    def take_flat(self, flat: Array) -> None:
        """Become cut to these flat positions, ascending; the highest logit of each row is among them."""
        peak = self._peak
        self.take(self._packed(flat))
        self._peak = peak

    def take(self, picked: Picked) -> None:
        """Become cut to what was picked, which every row has some of."""
        if self.tokens is not None:
            tokens = self.values_at(picked, self.tokens, self.num_vocab)
        elif picked.inside is None:
            tokens = picked.places
        else:
            starts = self.xp.reshape(self._starts[:-1], (-1, 1))
            tokens = self.xp.where(picked.inside, picked.places - starts, self.num_vocab)
        self.logits = self.values_at(picked, self.logits, -self.xp.inf)
        self.tokens = tokens
        self._forget()

    @property
    def _starts(self) -> Array:
        """The flat position at which each row begins, and the end: int64 [B + 1]."""
        return self.xp.arange(self.num_rows + 1, dtype=self.xp.int64, device=self.space.device) * self.num_columns

    # --- how

    def _is_best(self, count: Array, equals: Array | None = None) -> Array:
        """Which columns hold the `count` highest logits; of equals the first, which has the lowest id: bool [B, N].

        Where `equals`, bool [B, 1], all that equal the last one.
        """
        xp = self.xp
        lowest = self.space.nth(self._descending, count)
        mask = self.logits >= lowest
        crowded = self.space.count(mask) > count
        if equals is not None:
            crowded = crowded & ~equals
        if not bool(xp.any(crowded)):
            return mask
        above = self.logits > lowest
        rank = self.space.running(xp.astype(mask & ~above, xp.float64))
        first = above | (mask & (rank <= xp.astype(count - self.space.count(above), xp.float64)))
        return xp.where(crowded, first, mask)
