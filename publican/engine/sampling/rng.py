"""Uniform numbers that depend on nothing but (seed, position, purpose).

So neither batch-mates nor preemption nor a restart changes what a request draws (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"; the mixing is SplitMix64's finaliser, Steele et al. 2014).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15
_PURPOSE = 0xD1B54A32D192ED03


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
    x = _mix((mixed_seed(seed) + position * _STEP + purpose * _PURPOSE) & _MASK)
    return (x >> 11) * 2.0**-53


def uniforms(seeds: NDArray[np.uint64], positions: NDArray[np.uint64], purpose: Purpose = Purpose.TOKEN) -> NDArray[np.float64]:
    """`uniform` of many rows at once; `seeds` have been through `mixed_seed`."""
    x = seeds + positions * np.uint64(_STEP) + np.uint64(purpose * _PURPOSE & _MASK)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
