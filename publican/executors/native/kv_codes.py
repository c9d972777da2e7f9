"""Keys and values in 8 or 4 bits, in NumPy: what the types `q8` and `q4` mean, for every backend to be compared with.

`q8`: a scale for each token and head, codes from -127 to 127. `q4`: a step of 16 bits (bfloat16; float16 on cuda) for every 32
numbers of a token and head, codes from 0 to 15 that stand for step · (code - 8); the number of the largest size has code 0, so
steps may be negative (GGUF's Q4_0 does the same). Keys, and queries with them, are mixed before they are rounded to 4 bits:
channels with outliers would waste the codes of their neighbours (QuaRot, 2024; exllamav2 and llama.cpp do so too). Knows
nothing of pages.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from publican.executors.native.program import Floats

GROUP_LEN = 32
"""Numbers that share a step, and that are mixed with one another."""
_SMALLEST = np.float32(1e-30)

CodeType = Literal["q8", "q4"]


class Codes(NamedTuple):
    """Numbers [..., head_dim]: `codes` int8 of the same shape, or uint8 [..., ⌈head_dim / 2⌉] with two in a byte, the lower
    one first; `steps` float32 [..., 1 or ⌈head_dim / 32⌉]."""

    codes: NDArray[np.int8] | NDArray[np.uint8]
    steps: Floats


def encode(x: Floats, kind: CodeType) -> Codes:
    """Round `x` [..., head_dim]."""
    return _encode_q8(x) if kind == "q8" else _encode_q4(x)


def decode(stored: Codes, head_dim: int) -> Floats:
    """What codes stand for, [..., head_dim]."""
    codes, steps = stored
    if codes.dtype == np.int8:
        return cast(Floats, codes * steps)
    nibbles = np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:-1], -1)[..., :head_dim]
    return cast(Floats, (nibbles.astype(np.float32) - 8) * np.repeat(steps, GROUP_LEN, -1)[..., :head_dim])


def _encode_q8(x: Floats) -> Codes:
    largest = np.abs(x).max(-1, keepdims=True)
    scales = np.where(largest > _SMALLEST, largest / np.float32(127), np.float32(0))
    return Codes(np.rint(_divide(x, scales)).clip(-127, 127).astype(np.int8), scales)


def _encode_q4(x: Floats) -> Codes:
    head_dim = x.shape[-1]
    groups = _padded(x, -(-head_dim // GROUP_LEN) * GROUP_LEN).reshape(*x.shape[:-1], -1, GROUP_LEN)
    most, least = groups.max(-1), groups.min(-1)
    extreme = np.where(most > -least, most, least)
    steps = to_bf16(np.where(np.abs(extreme) > _SMALLEST, extreme / np.float32(-8), np.float32(0)))
    codes = np.rint(_divide(groups, steps[..., None]) + 8).clip(0, 15).astype(np.uint8)
    flat = codes.reshape(*x.shape[:-1], -1)[..., : head_dim + head_dim % 2]
    return Codes(flat[..., ::2] | flat[..., 1::2] << 4, steps)


def _divide(x: Floats, steps: Floats) -> Floats:
    return cast(Floats, np.divide(x, steps, out=np.zeros_like(x), where=steps != 0))


def _padded(x: Floats, width: int) -> Floats:
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])


def to_bf16(x: Floats) -> Floats:
    """To the nearest bfloat16, ties to even; finite numbers only."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return cast(Floats, ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32))


def mix(x: Floats) -> None:
    """Hadamard's transform of every 32 numbers of the heads [..., head_dim], in place, and of the powers of two that are left.

    It is orthogonal and its own inverse: scores of a mixed query and mixed keys are what they were.
    """
    first, head_dim = 0, x.shape[-1]
    while first < head_dim:
        count = min(GROUP_LEN, 1 << (head_dim - first).bit_length() - 1)
        x[..., first : first + count] = x[..., first : first + count] @ hadamard(count)
        first += count


def hadamard(size: int) -> Floats:
    """Sylvester's matrix of a power of two, scaled to be orthogonal."""
    numbers = np.arange(size)
    ones = np.bitwise_and(numbers[:, None], numbers)
    parity = np.zeros_like(ones)
    while ones.any():
        parity ^= ones & 1
        ones >>= 1
    return cast(Floats, ((1 - 2 * parity) / np.sqrt(size)).astype(np.float32))
