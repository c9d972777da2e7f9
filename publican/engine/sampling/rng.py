"""Uniform numbers that depend on nothing but (seed, position, purpose).

So neither batch-mates nor preemption nor a restart changes what a request draws (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"; the mixing is SplitMix64's finaliser, Steele et al. 2014).
"""

from __future__ import annotations

from enum import IntEnum

_MASK = 2**64 - 1


class Purpose(IntEnum):
    """What a number is for; draws for different purposes at one position are independent."""

    TOKEN = 0


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def uniform(seed: int, position: int, purpose: Purpose = Purpose.TOKEN) -> float:
    """A number in [0, 1), with 53 random bits."""
    x = _mix((seed + 0x9E3779B97F4A7C15) & _MASK)
    x = _mix((x + position * 0x9E3779B97F4A7C15 + purpose * 0xD1B54A32D192ED03) & _MASK)
    return (x >> 11) * 2.0**-53
