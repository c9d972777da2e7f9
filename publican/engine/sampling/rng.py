"""Uniform numbers that depend on nothing but (seed, position, purpose).

So neither batch-mates nor preemption nor a restart changes what a request draws (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"; the mixing is SplitMix64's finaliser, Steele et al. 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

_MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15
_PURPOSE = 0xD1B54A32D192ED03
_MANY = 12
"""From here on, doing it to whole arrays is faster."""


class Purpose(IntEnum):
    """What a number is for; draws for different purposes at one position are independent."""

    TOKEN = 0
    XTC = 1


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def mixed_seed(seed: int) -> int:
    """What `uniforms` wants of a seed: worked out once per request."""
    return _mix((seed + _STEP) & _MASK)


def uniform(seed: int, position: int, purpose: Purpose = Purpose.TOKEN) -> float:
    """A number in [0, 1), with 53 random bits."""
    return _uniform(mixed_seed(seed), position, purpose)


def _uniform(mixed: int, position: int, purpose: Purpose) -> float:
    return (_mix((mixed + position * _STEP + purpose * _PURPOSE) & _MASK) >> 11) * 2.0**-53


def uniforms(seeds: Sequence[int], positions: Sequence[int], purpose: Purpose = Purpose.TOKEN) -> list[float]:
    """`uniform` of many rows; `seeds` have been through `mixed_seed`. Written out below is the same for many at once."""
    if len(seeds) < _MANY:
        return [_uniform(seed, position, purpose) for seed, position in zip(seeds, positions, strict=True)]
    x = np.array(seeds, dtype=np.uint64)
    x = x + np.array(positions, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(purpose * _PURPOSE & _MASK)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    numbers: list[float] = ((x >> np.uint64(11)).astype(np.float64) * 2.0**-53).tolist()
    return numbers
