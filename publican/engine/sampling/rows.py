"""`Rows`: the distributions of a batch on their way through the samplers. Engine thread only; knows no sampler.

A batch begins *whole*: one column per token of the vocabulary. The first truncation makes it *cut*: only survivors are left,
one column each, in order of their token ids, and rows with fewer survivors are padded with -inf at the end. So everything
behind the first truncation works on hundreds of numbers instead of hundreds of thousands.

What a row becomes depends on that row alone, to the last bit: sums over a cut row are running sums in float64, which padding
does not change, and sums over a whole row are made of blocks whose borders depend on the vocabulary alone.
"""

from __future__ import annotations

from typing import NamedTuple

from publican.engine.sampling.arrays import Array, Space

BLOCK_LEN = 256
"""A whole row is summed, and searched, in blocks of this many tokens."""

_SHRINK_FROM = 128
_GROUP_LENS = (64, 16)
_SAMPLE_EVERY = 64


class Picked(NamedTuple):
    """Places in rows, packed to the left: flat positions, int64 [B, K]; where `inside` (None: everywhere) is false is none."""

    places: Array
    inside: Array | None


def _tail_end(space: Space, sample: Array, tail: Array, spare: Array) -> Array:
    """The lightest of the descending `sample` below which everything, `tail` when added up from below, is within `spare`."""
    xp = space.xp
    place = sample.shape[1] - 1 - space.count(tail <= spare)
    return xp.astype(xp.take_along_axis(sample, xp.maximum(place, xp.zeros_like(place)), axis=-1), spare.dtype)


class Rows:
    """Logits of B rows.

    Attributes:
        logits: [B, N], -inf where a token is out; multiplied by `scale` they are the current logits.
        scale: [B, 1], or None for 1.
        tokens: int64 [B, N], ascending, padded with `num_vocab`; None while whole.
        min_keep: int64 [B, 1]: truncation leaves at least that many; None for one.
    """

    def __init__(self, space: Space, logits: Array) -> None:
        self.space = space
        self.xp = space.xp
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
        self._blocks: Array | None = None
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
            self._peak = self.xp.max(self.logits, axis=-1, keepdims=True)
        return self._peak

    @property
    def depths(self) -> Array:
        """How far each logit lies below the highest, as a number ≤ 0: [B, N]."""
        if self._depths is None:
            depths = self.logits - self.peak
            self._depths = depths if self.scale is None else depths * self.scale
        return self._depths

    @property
    def weights(self) -> Array:
        """Probabilities times `total`; the likeliest token has 1: [B, N]."""
        if self._weights is None:
            self._weights = self.xp.exp(self.depths)
        return self._weights

    @property
    def total(self) -> Array:
        """The sum of the weights: float64 [B, 1]."""
        if self._total is None:
            self._total = self.blocks[:, -1:] if self.tokens is None else self.sum(self.weights)
        return self._total

    @property
    def blocks(self) -> Array:
        """Of whole rows: the running sums of the weights at the end of each block, float64 [B, blocks]."""
        if self._blocks is None:
            self._blocks = self.space.running(self._block_sums(self.weights))
        return self._blocks

    def sum(self, values: Array) -> Array:
        """The sum of `values` [B, N] over each row: float64 [B, 1]."""
        parts = self._block_sums(values) if self.tokens is None else values
        return self.space.running(parts)[:, -1:]

    def dot(self, left: Array, right: Array) -> Array:
        """The sum of the products of two [B, N] over each row: float64 [B, 1]."""
        parts = self._block_sums(left, right) if self.tokens is None else left * right
        return self.space.running(parts)[:, -1:]

    def entropy(self) -> Array:
        """In nats: float64 [B, 1]."""
        xp = self.xp
        # what is so deep weighs nothing, and 0 times infinity is no number
        moments = self.dot(self.weights, xp.maximum(self.depths, xp.asarray(-1e4, dtype=self.depths.dtype)))
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
        return self.gather(self.logits >= self._floor_for(wanted))

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

    def replace(self, logits: Array) -> None:
        """New current logits, -inf wherever they were."""
        self.logits = logits
        self.scale = None
        self._forget()

    def keep_within(self, distance: Array) -> None:
        """Keep the tokens at most `distance` ≥ 0, [B, 1], below the highest; infinity keeps all."""
        xp = self.xp
        if self.scale is not None:
            distance = distance / self.scale
        floor = self._finite(xp.astype(self.peak - distance, self.logits.dtype))
        if self.min_keep is None:
            self.keep(self.logits >= floor)
            return
        if self.tokens is None:
            self.keep(self.logits >= xp.minimum(floor, self._floor_for(self.min_keep)))
        self.keep((self.logits >= floor) | self._is_best(self.min_keep))

    def keep_probability(self, least: Array) -> None:
        """Keep the tokens of at least this probability, float64 [B, 1], and always the likeliest."""
        xp = self.xp
        weight = least * self.total
        on = weight > 0.0
        distance = xp.where(on, -xp.log(xp.where(on, weight, xp.ones_like(weight))), xp.inf)
        self.keep_within(xp.maximum(distance, xp.zeros_like(distance)))

    def keep_best(self, count: Array, equals: Array | None = None) -> None:
        """Keep the `count` ≥ 1, int64 [B, 1], highest; of equals the lowest ids, or where `equals` all that equal the last."""
        if self.min_keep is not None:
            count = self.xp.maximum(count, self.min_keep)
        if self.tokens is None:
            self.keep(self.logits >= self._floor_for(count))
        self.keep(self._is_best(count, equals))

    def keep(self, mask: Array, has_peak: bool = True) -> None:
        """Keep the columns in `mask` [B, N], at least one of each row; `has_peak`: the highest is among them."""
        peak = self._peak if has_peak else None
        if self.tokens is None:
            self.take(self.gather(mask))
        else:
            self.logits = self.xp.where(mask, self.logits, -self.xp.inf)
            if self.num_columns > _SHRINK_FROM and 2 * int(self.xp.max(self.space.count(mask))) < self.num_columns:
                self.take(self.gather(self.logits > -self.xp.inf))
        self._forget()
        self._peak = peak

    def keep_first(self, chosen: Array) -> None:
        """In the rows of `chosen`, bool [B, 1], keep nothing but the highest. The others are not touched; whole stays whole."""
        xp = self.xp
        best = xp.argmax(self.logits, axis=-1, keepdims=True)
        columns = xp.reshape(xp.arange(self.num_columns, dtype=best.dtype, device=self.space.device), (1, -1))
        peak = self._peak
        self.logits = xp.where((columns == best) | ~chosen, self.logits, -xp.inf)
        self._forget()
        self._peak = peak

    def cut_to_mass(self, mass: Array) -> None:
        """Become cut to likeliest tokens that together weigh at least `mass`, [B, 1]: those, and maybe more."""
        self.take_flat(self.heaviest(mass)[0])

    def heaviest(self, mass: Array) -> tuple[Array, Array]:
        """The flat positions of likeliest tokens of whole rows that together weigh at least `mass`, and the least that any of
        them weighs, [B, 1].

        What may be left out is a tail that weighs `total` - `mass`. A sample of the row tells about where that begins; then
        what is above is added up, so a bad guess costs time and nothing else. Tokens that weigh less than spare / V each weigh
        less than spare together, so the last resort is sure.
        """
        xp = self.xp
        spare = xp.maximum(self.total - mass, xp.zeros_like(self.total))
        sample = self.space.descending(self.weights[:, ::_SAMPLE_EVERY])
        tail = self.space.running(xp.flip(sample, axis=-1)) * _SAMPLE_EVERY
        floor = spare / (2 * self.num_vocab)
        enough = xp.zeros_like(spare, dtype=xp.bool)
        flat = None
        for share in (0.7, 0.3, 0.0):
            guess = _tail_end(self.space, sample, tail, share * spare) if share else spare / (2 * self.num_vocab)
            floor = xp.where(enough, floor, guess)
            flat = self.space.where(self.weights >= self._positive(floor))
            enough = self._mass(flat) >= mass
            if bool(xp.all(enough)):
                break
        if self.min_keep is None:
            return flat, self._positive(floor)
        nth = self._floor_for(self.min_keep) - self.peak
        nth = xp.exp(nth if self.scale is None else nth * self.scale) * (1.0 - 1e-6)
        floor = xp.minimum(self._positive(floor), self._positive(nth))
        return self.space.where(self.weights >= floor), floor

    def _mass(self, flat: Array) -> Array:
        """What the tokens of whole rows at these flat positions weigh together, a trifle too low: float64 [B, 1]."""
        xp = self.xp
        running = self.space.running(xp.take(xp.reshape(self.weights, (-1,)), flat, axis=0))
        running = xp.concat((xp.zeros(1, dtype=running.dtype, device=self.space.device), running))
        at_borders = xp.take(running, xp.searchsorted(flat, self._starts), axis=0)
        return xp.reshape(at_borders[1:] - at_borders[:-1], (-1, 1)) * (1.0 - 1e-9)

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
        found = xp.take(keys, place, axis=0) == wanted
        rows = rows[found]
        return rows, xp.astype(place[found], xp.int64) - rows * width, found

    def at(self, rows: Array, columns: Array) -> Array:
        """The current logits at these places: [n]."""
        self.settle()
        return self.xp.take(self.xp.reshape(self.logits, (-1,)), rows * self.num_columns + columns, axis=0)

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
            again = xp.take(xp.reshape(dead, (-1,)), rows, axis=0)
            self.set(rows[again], columns[again], before[again])

    def ban(self, rows: Array, tokens: Array) -> None:
        """Take `tokens` [n] of `rows` [n] out, unless nothing would be left of the row."""
        self.shift(rows, tokens, self.xp.full(rows.shape[0], -self.xp.inf, dtype=self.logits.dtype, device=self.space.device))

    def add_to_row(self, row: int, values: Array) -> None:
        """Add `values` [1, N] to the logits of one whole row, unless nothing would be left of it."""
        xp = self.xp
        changed = self.logits[row : row + 1, :] + values
        if bool(xp.any(changed > -xp.inf)):
            self.logits[row : row + 1, :] = changed
            self._forget()

    def repair(self) -> None:
        """Make logits that are no numbers, or infinite, into such as samplers can work with: out, and as high as can be."""
        xp = self.xp
        if bool(xp.all(xp.isfinite(self.peak))):
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
        tokens = xp.take(xp.reshape(self.tokens, (-1,)), flat, axis=0)
        self.space.scatter(whole, which, tokens, xp.take(xp.reshape(self.logits, (-1,)), flat, axis=0))
        return whole

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
        return Picked(xp.reshape(xp.take(flat, xp.reshape(index, (-1,)), axis=0), index.shape), places < counts)

    def values_at(self, picked: Picked, values: Array, missing: float) -> Array:
        """`values` [B, N] at what was picked, `missing` where there is nothing: [B, K]."""
        xp = self.xp
        found = xp.take(xp.reshape(values, (-1,)), xp.reshape(picked.places, (-1,)), axis=0)
        found = xp.reshape(found, picked.places.shape)
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

    def _block_sums(self, values: Array, factors: Array | None = None) -> Array:
        """The sums of `values`, or of their products with `factors`, over blocks of each whole row: [B, blocks]."""
        xp = self.xp
        body = self._blocks_of(values)
        if self.space.is_numpy:  # it has the dot product from BLAS, three times as fast as its sum
            sums = xp.vecdot(body, xp.ones(BLOCK_LEN, dtype=body.dtype) if factors is None else self._blocks_of(factors))
        else:
            sums = xp.sum(body if factors is None else body * self._blocks_of(factors), axis=-1)
        end = sums.shape[1] * BLOCK_LEN
        if end == self.num_vocab:
            return sums
        rest = values[:, end:] if factors is None else values[:, end:] * factors[:, end:]
        return xp.concat((sums, xp.sum(rest, axis=-1, keepdims=True)), axis=-1)

    def _blocks_of(self, values: Array) -> Array:
        num_blocks = self.num_vocab // BLOCK_LEN
        return self.xp.reshape(values[:, : num_blocks * BLOCK_LEN], (self.num_rows, num_blocks, BLOCK_LEN))

    def _floor_for(self, count: Array) -> Array:
        """A logit, [B, 1], that at least `count` tokens of each whole row reach, or the lowest there is.

        The row is dealt into groups; if `count` groups have a member that reaches it, so do `count` tokens.
        """
        xp = self.xp
        most = int(xp.max(count))
        for length in _GROUP_LENS:
            num_groups = self.num_vocab // length
            if 2 * most <= num_groups:
                groups = xp.reshape(self.logits[:, : num_groups * length], (self.num_rows, length, num_groups))
                return self._nth(count, xp.max(groups, axis=1))
        return self._nth(count)

    def _nth(self, count: Array, values: Array | None = None) -> Array:
        """The `count`-th highest of `values`, by default the logits; never -inf: [B, 1]."""
        ordered = self._descending if values is None else self.space.descending(values)
        place = self.xp.minimum(count, self.xp.full_like(count, ordered.shape[1])) - 1
        return self._finite(self.xp.take_along_axis(ordered, place, axis=-1))

    def _is_best(self, count: Array, equals: Array | None = None) -> Array:
        """Which columns hold the `count` highest logits; of equals the first, which has the lowest id: bool [B, N].

        Where `equals`, bool [B, 1], all that equal the last one.
        """
        xp = self.xp
        lowest = self._nth(count)
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

    def _finite(self, floor: Array) -> Array:
        """`floor`, but above -inf, so that what is out never comes back in."""
        return self.xp.maximum(floor, self.xp.full_like(floor, self.xp.finfo(floor.dtype).min))

    def _positive(self, floor: Array) -> Array:
        """`floor` as weights have it, but above 0."""
        floor = self.xp.astype(floor, self.logits.dtype)
        return self.xp.maximum(floor, self.xp.full_like(floor, self.xp.finfo(floor.dtype).smallest_normal))
