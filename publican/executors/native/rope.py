"""Tables of cosines and sines for rotary positions, in every way of stretching them.

A table is made once for a loaded context, so that keys in the cache stay right: methods that other programs change with
the length of each sequence (dynamic NTK, longrope) are settled by the length that the context has room for. NumPy only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import ModelFileError
from publican.core.model import Rope, RopeScaling
from publican.executors.native.program import RopeTable

Doubles = NDArray[np.float64]
_ROWS_AT_ONCE = 4_096


def rope_table(rope: Rope, context_len: int, divisors: NDArray[np.float32] | None = None) -> RopeTable:
    """The table for positions 0 … context_len - 1.

    Args:
        divisors: of each frequency, on top of everything else [dim / 2]: a GGUF's `rope_freqs`.

    Raises:
        ModelFileError: factors of the file do not fit the dimension.
    """
    frequencies, magnitude = inverse_frequencies(rope, context_len)
    if divisors is not None:
        _require_factors(divisors, rope)
        frequencies = frequencies / divisors
    cos, sin = np.empty((2, context_len, rope.dim // 2), np.float32)
    for start in range(0, context_len, _ROWS_AT_ONCE):  # in double precision a long table would be large
        rows = slice(start, start + _ROWS_AT_ONCE)
        angles = np.outer(np.arange(start, min(start + _ROWS_AT_ONCE, context_len)), frequencies)
        cos[rows], sin[rows] = np.cos(angles) * magnitude, np.sin(angles) * magnitude
    return RopeTable(cos, sin)


def inverse_frequencies(rope: Rope, context_len: int) -> tuple[Doubles, float]:
    """Radians per position of each pair [dim / 2], and what cosines and sines are multiplied by."""
    scaling = rope.scaling
    original = scaling.original_context_len or context_len
    plain = _frequencies(rope.theta, rope.dim)
    match scaling.kind:
        case "none":
            return plain, 1.0
        case "linear":
            return plain / scaling.factor, 1.0
        case "ntk":
            return _frequencies(_ntk_theta(rope, scaling.alpha), rope.dim), 1.0
        case "dynamic":
            growth = scaling.factor * context_len / original - (scaling.factor - 1)
            return _frequencies(_ntk_theta(rope, max(1.0, growth)), rope.dim), 1.0
        case "llama3":
            return _llama3(plain, scaling, original), 1.0
        case "yarn":
            return _yarn(plain, rope, original), _yarn_magnitude(scaling)
        case "longrope":
            factors = np.array(scaling.long_factors if context_len > original else scaling.short_factors)
            _require_factors(factors, rope)
            return plain / factors, _longrope_magnitude(scaling, original)


def _frequencies(theta: float, dim: int) -> Doubles:
    return np.asarray(theta ** (-np.arange(0, dim, 2) / dim), np.float64)


def _ntk_theta(rope: Rope, alpha: float) -> float:
    """NTK-aware scaling (bloc97, 2023): the slowest frequency becomes 1 / alpha of itself, the fastest stays."""
    return float(rope.theta * alpha ** (rope.dim / (rope.dim - 2))) if rope.dim > 2 else rope.theta


def _llama3(plain: Doubles, scaling: RopeScaling, original: int) -> Doubles:
    """Llama 3.1: slow frequencies are stretched, fast ones kept, those between mixed."""
    turns = original * plain / (2 * math.pi)  # within the original context
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0) if high > low else (turns > low).astype(np.float64)
    return (1 - kept) * plain / scaling.factor + kept * plain


def _yarn(plain: Doubles, rope: Rope, original: int) -> Doubles:
    """YaRN (arXiv 2309.00071): as Llama 3.1 did later, with corners given in turns and a ramp over the dimensions."""

    def dimension(turns: float) -> float:
        return rope.dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low = max(math.floor(dimension(rope.scaling.beta_fast)), 0)
    high = min(math.ceil(dimension(rope.scaling.beta_slow)), rope.dim - 1)
    stretched = np.clip((np.arange(rope.dim // 2) - low) / max(high - low, 0.001), 0.0, 1.0)
    return plain / rope.scaling.factor * stretched + plain * (1 - stretched)


def _yarn_magnitude(scaling: RopeScaling) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    return 0.1 * math.log(scaling.factor) + 1 if scaling.factor > 1 else 1.0


def _longrope_magnitude(scaling: RopeScaling, original: int) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.factor <= 1 or original <= 1:
        return 1.0
    return math.sqrt(1 + math.log(scaling.factor) / math.log(original))


def _require_factors(factors: NDArray[np.floating], rope: Rope) -> None:
    if factors.shape != (rope.dim // 2,) or not np.isfinite(factors).all() or not (factors > 0).all():
        raise ModelFileError(f"The model's {len(factors)} rotary factors should be {rope.dim // 2} positive numbers.")
