"""The short way of the commonest stacks: temperature, top_k, top_p and min_p, row by row, on NumPy alone.

What is left of a row after its first cut is a few dozen numbers, and for those the time goes into calling NumPy, not into
what it does: most of all between the steps of a model, when nothing of it is in the caches any more. And a whole row that is
worked on alone stays in the caches. Where the executor tells the best of its rows, `few` has the rest of the way. The results
are the batch's to the last bit (tests say so), so nobody needs to know which way was taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from publican.engine.sampling.arrays import BELOW_ONE, Host
from publican.engine.sampling.few import Few, Weigher, method_of
from publican.engine.sampling.passes import BLOCK_LEN, Passes
from publican.engine.sampling.recipe import Recipe

_SAMPLE_EVERY = 64
_GROUP_LEN = 64


class ShortWay:
    """The recipes of some rows that stay together, and room to work in.

    Args:
        logits: of the first step, [B, V]; those of later steps have the same form.
    """

    def __init__(self, passes: Passes, recipes: Sequence[Recipe], logits: Host) -> None:
        self._passes = passes
        self._recipes = recipes
        self._methods = [method_of(recipe) for recipe in recipes]
        self._most = max(method.num_wanted for method in self._methods)
        self._weigher = Weigher(self._methods)
        self._room: Host = np.empty(logits.shape[1], logits.dtype)

    def fits(self, logits: Host) -> bool:
        return self._room.dtype == logits.dtype and len(self._room) == logits.shape[1]

    def draw(self, logits: Host, uniforms: Sequence[float]) -> list[int] | None:
        """The token of each row of [B, V], or None if there are logits that must be repaired first, or far too large."""
        best = self._passes.best(logits, self._most) if self._most else None
        values: list[list[float]] = []
        weights = None
        if best is not None:
            values = best.logits.tolist()
            weights = self._weigher.weights(best.logits, values)
            if weights is None:
                return None
        tokens = []
        for i, (recipe, method) in enumerate(zip(self._recipes, self._methods, strict=True)):
            row = WholeRow(self._passes, logits[i], self._room)
            token = None
            if best is not None and weights is not None and method.num_wanted:
                row.peak = best.logits[i, 0]
                few = Few(best.tokens[i], values[i], [stage[i] for stage in weights], row.total)
                token = few.draw(method, uniforms[i])
            if token is None:
                row.peak = logits[i].max()
                if not math.isfinite(row.peak):
                    return None
                with np.errstate(over="ignore"):  # what is so deep weighs nothing
                    token = ShortRow(row, recipe).draw(uniforms[i])
            tokens.append(token)
        return tokens


class WholeRow:
    """A whole row of logits, and what was worked out of it last. Somebody must say what its peak is."""

    def __init__(self, passes: Passes, logits: Host, room: Host) -> None:
        self.passes = passes
        self.logits = logits
        self.peak: Any = None
        self._room = room
        self._scale: Any = None
        self._is_done = False

    def weights(self, scale: Any) -> Host:
        """They lie in the row's room, and hold until those under another scale are asked for."""
        if not self._is_done or scale != self._scale:
            weights_of(self.logits, self.peak, scale, self._room)
            self._scale, self._is_done = scale, True
        return self._room

    def total(self, scale: Any) -> float:
        """As `Rows.total`."""
        with np.errstate(over="ignore"):  # what is so deep weighs nothing
            return float(self.passes.sums(self.weights(scale)[None, :])[0, -1])


def likeliest_tokens(logits: Host) -> list[int] | None:
    """The first of the highest of each row of [B, V], or None if there are logits that must be repaired first."""
    tokens = [int(row.argmax()) for row in logits]
    return tokens if all(math.isfinite(row[token]) for row, token in zip(logits, tokens, strict=True)) else None


def weights_of(logits: Host, peak: Any, scale: Any, room: Host | None = None) -> Host:
    """Their weights, [N]; in `room` where there is some, since asking for memory costs as much as the work."""
    depths = np.subtract(logits, peak, out=room)
    if scale is not None:
        np.multiply(depths, scale, out=depths)
    weights: Host = np.exp(depths, out=depths)
    return weights


class ShortRow:
    """One row of logits, cut as its recipe says. `tokens` is None if it stayed whole; `scale` is still to be multiplied in."""

    def __init__(self, whole: WholeRow, recipe: Recipe) -> None:
        self._whole = whole
        self._passes = whole.passes
        self._recipe = recipe
        self.logits = whole.logits
        self.peak = whole.peak
        self.scale: Any = None
        self.tokens: Host | None = None
        self._weights: Host | None = None
        for step, value in recipe.steps:
            if step == "temperature":
                factor = self.logits.dtype.type(value)
                self.scale = factor if self.scale is None else self.scale * factor
                self._weights = None
            elif step == "min_p":
                self._min_p(value)
            elif step == "top_k":
                self._top_k(int(value))
            else:
                self._top_p(value)

    def draw(self, uniform: float) -> int:
        """The token on which `uniform` falls."""
        if self.tokens is None:
            return self._draw_whole(uniform)
        running = _running(self.weights)
        return int(self.tokens[running.searchsorted(_target(running, uniform), side="right")])

    @property
    def weights(self) -> Host:
        if self._weights is None:
            is_whole = self.tokens is None
            self._weights = self._whole.weights(self.scale) if is_whole else weights_of(self.logits, self.peak, self.scale)
        return self._weights

    def _keep(self, kept: Host) -> None:
        """`kept` are places, or a mask of them."""
        self.logits = self.logits[kept]
        self.tokens = kept if self.tokens is None else self.tokens[kept]
        if self._weights is not None:
            self._weights = self._weights[kept]

    def _min_p(self, share: float) -> None:
        distance = -math.log(share) if self.scale is None else -math.log(share) / float(self.scale)
        floor = self.logits.dtype.type(float(self.peak) - distance)
        mask = self.logits >= floor
        self._keep(mask.nonzero()[0] if self.tokens is None else mask)

    def _top_k(self, count: int) -> None:
        if self.tokens is None:
            self._keep((self.logits >= self._floor_for(count)).nonzero()[0])
        if count < len(self.logits):
            self._keep_best(np.sort(self.logits), count, self._recipe.keep_ties)

    def _floor_for(self, count: int) -> Any:
        """As `Passes.floor_for`: a logit that `count` tokens reach."""
        groups = self.logits[: len(self.logits) // _GROUP_LEN * _GROUP_LEN].reshape(_GROUP_LEN, -1)
        values = groups.max(axis=0) if 2 * count <= groups.shape[1] else self.logits
        floor = np.sort(values)[-min(count, len(values))]
        return max(floor, np.finfo(floor.dtype).min)

    def _keep_best(self, ascending: Host, count: int, keep_ties: bool = False) -> None:
        lowest = ascending[-count]
        mask = self.logits >= lowest
        if not keep_ties and len(ascending) > count and ascending[-count - 1] == lowest:
            equals = (self.logits == lowest).nonzero()[0]
            mask[equals[count - int((self.logits > lowest).sum()) :]] = False
        self._keep(mask)

    def _top_p(self, share: float) -> None:
        if self.tokens is None:
            limit = share * self._whole.total(self.scale)
            self._keep(self._heaviest(limit))
            ascending, running = self._descent()
        else:
            ascending, running = self._descent()
            limit = share * float(running[-1])
        if self._recipe.exclusive:
            count = max(1, int(running.searchsorted(limit, side="right")))
        else:
            count = 1 + int(running.searchsorted(limit, side="left"))
        if count < len(ascending):
            self._keep_best(ascending, count)

    def _descent(self) -> tuple[Host, Host]:
        """The logits, lowest first; and the running sums of the weights, heaviest first."""
        ascending = np.sort(self.logits)
        return ascending, _running(weights_of(ascending[::-1], self.peak, self.scale))

    def _heaviest(self, mass: float) -> Host:
        """As `Passes.heaviest`: the likeliest tokens that weigh `mass` together, and maybe more."""
        weights = self.weights
        total = float(self._passes.sums(weights[None, :])[0, -1])
        sample = np.sort(weights[::_SAMPLE_EVERY])
        tail = _running(sample) * _SAMPLE_EVERY
        floors = [
            float(sample[min(int(tail.searchsorted(part * (total - mass), side="right")), len(sample) - 1)])
            for part in (0.7, 0.3)
        ]
        for floor in (*floors, max(total - mass, 0.0) / (2 * len(weights))):
            places = (weights >= weights.dtype.type(floor + float(np.finfo(weights.dtype).smallest_normal))).nonzero()[0]
            if float(weights[places].sum(dtype=np.float64)) * (1.0 - 1e-9) >= mass:
                break
        found: Host = places
        return found

    def _draw_whole(self, uniform: float) -> int:
        """As `Passes.num_adding_up`: first the block, then the token."""
        weights = self.weights
        blocks = self._passes.sums(weights[None, :])[0]
        block = int(blocks.searchsorted(_target(blocks, uniform), side="right"))
        left = uniform * blocks[-1] - (blocks[block - 1] if block else 0.0)
        running = _running(weights[block * BLOCK_LEN : (block + 1) * BLOCK_LEN])
        share = left / running[-1] if running[-1] > 0.0 else 0.0
        return block * BLOCK_LEN + int(running.searchsorted(_target(running, share), side="right"))


def _running(values: Host) -> Host:
    running: Host = np.add.accumulate(values, dtype=np.float64)
    return running


def _target(running: Host, share: float) -> Any:
    return min(share * running[-1], running[-1] * BELOW_ONE)
