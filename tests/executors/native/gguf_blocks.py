"""Packs GGUF blocks one number at a time, after the description in the format's own words (ggml-common.h).

Independent of the loader and slow on purpose: each function takes the codes of a block and its (quantised) scales, and
returns the bytes and the values that they stand for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

Packed = tuple[bytes, list[float]]


def half(x: float) -> bytes:
    return struct.pack("<e", x)


def random_half(rng: np.random.Generator) -> float:
    return float(np.float16(rng.normal() * 0.05))


def _two_nibbles(codes: list[int]) -> bytes:
    return bytes(codes[j] & 15 | (codes[j + 16] & 15) << 4 for j in range(16))


def q4_0(rng: np.random.Generator) -> Packed:
    d, q = random_half(rng), rng.integers(0, 16, 32).tolist()
    return half(d) + _two_nibbles(q), [(x - 8) * d for x in q]


def q4_1(rng: np.random.Generator) -> Packed:
    d, m, q = random_half(rng), random_half(rng), rng.integers(0, 16, 32).tolist()
    return half(d) + half(m) + _two_nibbles(q), [np.float32(x * d) + np.float32(m) for x in q]


def q5_0(rng: np.random.Generator) -> Packed:
    d, q = random_half(rng), rng.integers(0, 32, 32).tolist()
    high = sum((x >> 4) << j for j, x in enumerate(q))
    return half(d) + struct.pack("<I", high) + _two_nibbles(q), [(x - 16) * d for x in q]


def q5_1(rng: np.random.Generator) -> Packed:
    d, m, q = random_half(rng), random_half(rng), rng.integers(0, 32, 32).tolist()
    high = sum((x >> 4) << j for j, x in enumerate(q))
    values = [np.float32(x * d) + np.float32(m) for x in q]
    return half(d) + half(m) + struct.pack("<I", high) + _two_nibbles(q), values


def q8_0(rng: np.random.Generator) -> Packed:
    d, q = random_half(rng), rng.integers(-128, 128, 32).tolist()
    return half(d) + struct.pack("32b", *q), [x * d for x in q]


def q2_k(rng: np.random.Generator) -> Packed:
    d, dmin = random_half(rng), random_half(rng)
    scales, mins = rng.integers(0, 16, 16).tolist(), rng.integers(0, 16, 16).tolist()
    q = rng.integers(0, 4, 256).tolist()
    qs = bytearray(64)
    for i, x in enumerate(q):
        part, inside = divmod(i, 128)
        shift, byte = divmod(inside, 32)
        qs[32 * part + byte] |= x << 2 * shift
    values = [np.float32(d * scales[i // 16] * x) - np.float32(dmin * mins[i // 16]) for i, x in enumerate(q)]
    return bytes(s | m << 4 for s, m in zip(scales, mins, strict=True)) + bytes(qs) + half(d) + half(dmin), values


def q3_k(rng: np.random.Generator) -> Packed:
    d, scales = random_half(rng), rng.integers(-32, 32, 16).tolist()
    q = rng.integers(-4, 4, 256).tolist()
    qs, mask, packed = bytearray(64), bytearray(32), bytearray(12)
    for i, x in enumerate(q):
        part, inside = divmod(i, 128)
        shift, byte = divmod(inside, 32)
        qs[32 * part + byte] |= (x & 3) << 2 * shift
        if x >= 0:
            mask[byte] |= 1 << (4 * part + shift)
    for j, scale in enumerate(scales):
        code = scale + 32
        packed[j % 8] |= (code & 15) << 4 * (j // 8)
        packed[8 + j % 4] |= (code >> 4) << 2 * (j // 4)
    return bytes(mask) + bytes(qs) + bytes(packed) + half(d), [d * scales[i // 16] * x for i, x in enumerate(q)]


def _pairs_of_six(scales: list[int], mins: list[int]) -> bytes:
    packed = bytearray(12)
    for j in range(4):
        packed[j] = scales[j] | (scales[j + 4] >> 4) << 6
        packed[j + 4] = mins[j] | (mins[j + 4] >> 4) << 6
        packed[j + 8] = scales[j + 4] & 15 | (mins[j + 4] & 15) << 4
    return bytes(packed)


def _runs(q: list[int]) -> bytes:
    return bytes(q[64 * i + j] & 15 | (q[64 * i + 32 + j] & 15) << 4 for i in range(4) for j in range(32))


def _k_values(d: float, dmin: float, scales: list[int], mins: list[int], q: list[int]) -> list[float]:
    return [np.float32(d * scales[i // 32] * x) - np.float32(dmin * mins[i // 32]) for i, x in enumerate(q)]


def q4_k(rng: np.random.Generator) -> Packed:
    d, dmin = random_half(rng), random_half(rng)
    scales, mins = rng.integers(0, 64, 8).tolist(), rng.integers(0, 64, 8).tolist()
    q = rng.integers(0, 16, 256).tolist()
    return half(d) + half(dmin) + _pairs_of_six(scales, mins) + _runs(q), _k_values(d, dmin, scales, mins, q)


def q5_k(rng: np.random.Generator) -> Packed:
    d, dmin = random_half(rng), random_half(rng)
    scales, mins = rng.integers(0, 64, 8).tolist(), rng.integers(0, 64, 8).tolist()
    q = rng.integers(0, 32, 256).tolist()
    high = bytearray(32)
    for i, x in enumerate(q):
        high[i % 32] |= (x >> 4) << (i // 32)
    packed = half(d) + half(dmin) + _pairs_of_six(scales, mins) + bytes(high) + _runs(q)
    return packed, _k_values(d, dmin, scales, mins, q)


def q6_k(rng: np.random.Generator) -> Packed:
    d, scales = random_half(rng), rng.integers(-128, 128, 16).tolist()
    q = rng.integers(0, 64, 256).tolist()
    ql, qh = bytearray(128), bytearray(64)
    for i, x in enumerate(q):
        part, inside = divmod(i, 128)
        run, j = divmod(inside, 32)
        ql[64 * part + 32 * (run % 2) + j] |= (x & 15) << 4 * (run // 2)
        qh[32 * part + j] |= (x >> 4) << 2 * run
    values = [d * scales[i // 16] * (x - 32) for i, x in enumerate(q)]
    return bytes(ql) + bytes(qh) + struct.pack("16b", *scales) + half(d), values


PACKERS: dict[str, Callable[[np.random.Generator], Packed]] = {
    "Q4_0": q4_0,
    "Q4_1": q4_1,
    "Q5_0": q5_0,
    "Q5_1": q5_1,
    "Q8_0": q8_0,
    "Q2_K": q2_k,
    "Q3_K": q3_k,
    "Q4_K": q4_k,
    "Q5_K": q5_k,
    "Q6_K": q6_k,
}


def random_matrix(kind: str, num_outputs: int, blocks_per_row: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The bytes [outputs, bytes of a row] and the float32 values [outputs, inputs] of a random matrix."""
    rng = np.random.default_rng(seed)
    rows = [[PACKERS[kind](rng) for _ in range(blocks_per_row)] for _ in range(num_outputs)]
    raw = np.array([list(b"".join(packed for packed, _ in row)) for row in rows], np.uint8)
    return raw, np.array([[v for _, values in row for v in values] for row in rows], np.float32)
