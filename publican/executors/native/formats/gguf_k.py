"""GGUF's K-quants: blocks of 256 inputs in 8 or 16 groups, whose scales are themselves quantised.

Bit layouts as libggml has them (ggml-quants.c); the tests compare with libggml's own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.executors.native.formats.gguf_blocks import Blocks, BlockType

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def _two_bits(qs: Bytes) -> Bytes:
    """[N, B, 64] bytes as [N, B, 256] codes: each half of 32 bytes holds four runs of 32, two bits at a time."""
    halves = qs.reshape(*qs.shape[:2], 2, 1, 32)
    return (halves >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3).reshape(*qs.shape[:2], 256)


def _q2_k(b: NDArray[Any]) -> Blocks:
    d, dmin = b["d"].astype(np.float32)[..., None], b["dmin"].astype(np.float32)[..., None]
    return _two_bits(b["qs"]), d * (b["sc"] & 15), -dmin * (b["sc"] >> 4)


def _q3_k(b: NDArray[Any]) -> Blocks:
    shifts = np.arange(8, dtype=np.uint8)[:, None]
    high = (b["hmask"][..., None, :] >> shifts & 1).reshape(*b.shape, 256)
    codes = _two_bits(b["qs"]) | high << 2  # the value is the code minus 4
    sc = b["sc"]
    low = np.concatenate([sc[..., :8] & 15, sc[..., :8] >> 4], axis=-1)
    top = (sc[..., None, 8:] >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3).reshape(*b.shape, 16)
    scales = b["d"].astype(np.float32)[..., None] * ((low | top << 4).astype(np.float32) - 32)
    return codes, scales, -4 * scales


def _six_bit_pairs(b: NDArray[Any]) -> tuple[Floats, Floats]:
    """Scales and offsets of Q4_K and Q5_K: eight of six bits each in twelve bytes, times the block's own two."""
    first, second, third = b["sc"][..., :4], b["sc"][..., 4:8], b["sc"][..., 8:]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=-1)
    mins = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=-1)
    d, dmin = b["d"].astype(np.float32)[..., None], b["dmin"].astype(np.float32)[..., None]
    return d * scales, -dmin * mins


def _nibble_runs(qs: Bytes) -> Bytes:
    """[N, B, 128] bytes as [N, B, 256] codes: each 32 bytes hold a run of 32 in their low halves, the next in their high."""
    runs = qs.reshape(*qs.shape[:2], 4, 1, 32)
    return (runs >> np.array([0, 4], np.uint8)[:, None] & 15).reshape(*qs.shape[:2], 256)


def _q4_k(b: NDArray[Any]) -> Blocks:
    return _nibble_runs(b["qs"]), *_six_bit_pairs(b)


def _q5_k(b: NDArray[Any]) -> Blocks:
    fifth = (b["qh"][..., None, :] >> np.arange(8, dtype=np.uint8)[:, None] & 1).reshape(*b.shape, 256)
    return _nibble_runs(b["qs"]) | fifth << 4, *_six_bit_pairs(b)


def _q6_k(b: NDArray[Any]) -> Blocks:
    ql = b["ql"].reshape(*b.shape, 2, 1, 64)
    low = (ql >> np.array([0, 4], np.uint8)[:, None] & 15).reshape(*b.shape, 256)
    qh = b["qh"].reshape(*b.shape, 2, 1, 32)
    high = (qh >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3).reshape(*b.shape, 256)
    scales = b["d"].astype(np.float32)[..., None] * b["sc"]
    return low | high << 4, scales, -32 * scales


_F16, _DMIN = ("d", "<f2"), ("dmin", "<f2")
K_TYPES: Mapping[str, BlockType] = {
    "Q2_K": BlockType(np.dtype([("sc", "u1", 16), ("qs", "u1", 64), _F16, _DMIN]), 2, 16, _q2_k, 256),
    "Q3_K": BlockType(np.dtype([("hmask", "u1", 32), ("qs", "u1", 64), ("sc", "u1", 12), _F16]), 3, 16, _q3_k, 256),
    "Q4_K": BlockType(np.dtype([_F16, _DMIN, ("sc", "u1", 12), ("qs", "u1", 128)]), 4, 32, _q4_k, 256),
    "Q5_K": BlockType(np.dtype([_F16, _DMIN, ("sc", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)]), 5, 32, _q5_k, 256),
    "Q6_K": BlockType(np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("sc", "i1", 16), _F16]), 6, 16, _q6_k, 256),
}
