"""How many guesses pay: arithmetic over measured times. Plain numbers, no clock; engine thread only.

A step of n tokens takes the target T(n), and the draft takes D(n) for every round in which it gives each of some sequences one
more guess. With k rounds, a sequence whose guesses come true with probability p gets 1 + p + … + p^k tokens out of the step
(Leviathan et al. 2023). What pays best is the k with the most tokens per second; where that is 0, nothing is drafted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_FALLING, _RISING = 0.4, 0.1
_EXTRA_SHARE = 0.05
_TRUSTED_AFTER = 3
_MARGIN = 1.1
"""What guesses must gain to be made: times are measured among other people's work, and a gain of little may be none."""
_SEEN_ENOUGH, _FAR_BELOW = 2, 0.9


@dataclass(slots=True)
class StepTimes:
    """How long steps of so many tokens take, in seconds.

    What disturbs a measurement only ever makes it longer, so a shorter one is believed sooner than a longer one, and no step
    is taken to be slower than one with more tokens.
    """

    _measured: dict[int, float] = field(default_factory=dict)
    _curve: list[float] = field(default_factory=list)
    _num_seen: int = 0

    def learn(self, num_tokens: int, step_s: float) -> None:
        self._num_seen += 1
        known = self._measured.get(num_tokens, step_s)
        self._measured[num_tokens] = known + (_FALLING if step_s < known else _RISING) * (step_s - known)
        self._curve.clear()

    @property
    def is_known(self) -> bool:
        """Whether enough was measured to go by; the very first steps of a program are slow."""
        return self._num_seen >= _TRUSTED_AFTER

    def of(self, num_tokens: int) -> float:
        """Between two measured sizes, in proportion. Beyond them a token more is taken to cost next to nothing, so that it is
        tried and measured; 0 where nothing was measured at all."""
        if not self._measured:
            return 0.0
        curve = self._curve or self._draw()
        beyond = num_tokens - len(curve)
        return curve[num_tokens - 1] if beyond <= 0 else curve[-1] * (1.0 + _EXTRA_SHARE * beyond)

    def _draw(self) -> list[float]:
        """The times of 1, 2, … tokens, up to the most that were measured."""
        sizes = sorted(self._measured)
        bounds, least = {}, math.inf
        for size in reversed(sizes):
            bounds[size] = least = min(least, self._measured[size])
        first = sizes[0]
        curve = [bounds[first] / (1.0 + _EXTRA_SHARE * (first - n)) for n in range(1, first + 1)]
        for low, high in pairwise(sizes):
            rise = (bounds[high] - bounds[low]) / (high - low)
            curve += [bounds[low] + rise * (n - low) for n in range(low + 1, high + 1)]
        self._curve = curve
        return curve


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence that could have guesses: how likely each comes true, how many it may have at most, and how many tokens the
    draft must read before it can guess."""

    chance: float
    most: int
    num_pending: int


class Worth:
    """What is known of both models' times, and what follows from it."""

    def __init__(self) -> None:
        self.target = StepTimes()
        self.draft = StepTimes()

    def depths(self, candidates: Sequence[Candidate], num_planned: int, num_free: int) -> list[int]:
        """How many guesses each of `candidates` should get in a step that has `num_planned` tokens and takes `num_free` more.

        The others in the step count: what guesses add to its time, they pay for as well.
        """
        depths = [0] * len(candidates)
        best = list(depths)
        num_tokens, expected, draft_s = num_planned, float(num_planned), 0.0
        step_s = self.target.of(num_planned)
        best_rate = _MARGIN * expected / step_s if step_s else 0.0
        deepest = max((one.most for one in candidates), default=0)
        for depth in range(1, deepest + 1):
            going = [i for i, one in enumerate(candidates) if one.most >= depth and depths[i] == depth - 1]
            going = sorted(going, key=lambda i: -candidates[i].chance)[: max(0, num_free - (num_tokens - num_planned))]
            if not going:
                break
            num_read = sum(candidates[i].num_pending for i in going) if depth == 1 else len(going)
            draft_s += self.draft.of(num_read) if self.draft.is_known else 0.0
            for i in going:
                gain = candidates[i].chance ** depth
                if depth > 1 and not self._pays(gain, num_tokens, expected, step_s):
                    continue
                depths[i] = depth
                num_tokens += 1
                expected += gain
            step_s = self.target.of(num_tokens) + draft_s
            rate = expected / step_s if step_s else float(depth)
            if rate > best_rate:
                best_rate, best = rate, list(depths)
            elif depth >= _SEEN_ENOUGH and rate < _FAR_BELOW * best_rate:
                break
        return best

    def _pays(self, gain: float, num_tokens: int, expected: float, step_s: float) -> bool:
        """Whether one more row of the target's step is worth `gain` tokens, when the whole step gives `expected`."""
        row_s = self.target.of(num_tokens + 1) - self.target.of(num_tokens)
        return gain * step_s >= row_s * expected

    def could_pay(self, num_planned: int, num_free: int) -> bool:
        """Whether guesses would pay that always came true. If not, there is nothing to try."""
        return any(self.depths([Candidate(1.0, num_free, 1)] * num_planned, num_planned, num_free))
