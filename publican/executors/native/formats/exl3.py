"""EXL3 (QTIP's trellis codes) by reconstruction: what comes out is a dense float16 matrix. Experimental.

A tile of 16 × 16 weights is a ring of bits; each weight is a hash of the 16 bits that end at its place. The matrix stands
between two Hadamard transforms with signs, which are undone here, so that nothing of it is left at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import ModelFileError
from publican.executors.native.formats.format import Format, Shape
from publican.executors.native.kv_codes import hadamard
from publican.executors.native.layout import DenseMatrix
from publican.executors.native.tensors import MappedTensors

_TILE = 16
_HADAMARD = 128
_MCG_MULTIPLIER, _MUL1_MULTIPLIER = 0xCBAC1FED, 0x83DCD12D


def _owns(tensors: MappedTensors, module: str) -> bool:
    return f"{module}.trellis" in tensors


def _read(tensors: MappedTensors, module: str, settings: Mapping[str, Any], shape: Shape) -> DenseMatrix:
    trellis = tensors.array(f"{module}.trellis", "I16")
    if trellis.ndim != 3 or trellis.shape[2] % _TILE or not 1 <= trellis.shape[2] // _TILE <= 8:
        raise ModelFileError(f"The trellis of {module} has the wrong shape; download the model again.")
    num_inputs, num_outputs = trellis.shape[0] * _TILE, trellis.shape[1] * _TILE
    signs = _signs(tensors, module, "suh", "su", num_inputs), _signs(tensors, module, "svh", "sv", num_outputs)
    if num_inputs % _HADAMARD or num_outputs % _HADAMARD:
        raise ModelFileError(f"The trellis of {module} is not a multiple of {_HADAMARD}; download the model again.")
    codebook = _codebook(tensors, module)
    out = np.empty((num_outputs, num_inputs), np.float16)
    matrix = hadamard(_HADAMARD)
    step = _HADAMARD // _TILE
    for block in range(0, trellis.shape[0], step):  # 128 inputs at a time: a whole layer in float32 would be large
        rows = slice(block * _TILE, block * _TILE + _HADAMARD)
        weights = _tiles(codebook[_states(trellis[block : block + step])])
        weights = matrix @ weights * signs[0][rows, None]
        weights = (weights.reshape(-1, _HADAMARD) @ matrix).reshape(_HADAMARD, -1) * signs[1]
        out[:, rows] = weights.T
    return DenseMatrix(out[: shape[0]])


def _signs(tensors: MappedTensors, module: str, scaled: str, packed: str, num: int) -> NDArray[np.float32]:
    """Signs with scales, or in the first files packed signs alone: a set bit is a minus."""
    if f"{module}.{scaled}" in tensors:
        signs = tensors.floats(f"{module}.{scaled}")
    else:
        bits = np.unpackbits(tensors.array(f"{module}.{packed}", "I16").view(np.uint8), bitorder="little")
        signs = 1 - 2 * bits.astype(np.float32)
    if signs.shape != (num,):
        raise ModelFileError(f"The signs of {module} do not fit its size; download the model again.")
    return signs


def _states(trellis: NDArray[np.int16]) -> NDArray[np.uint32]:
    """[.., 16 · bits] words as [.., 256] states: the 16 bits of the ring that end with each symbol's own."""
    bits = trellis.shape[-1] // _TILE
    words = np.ascontiguousarray(trellis).view("<u4").astype(np.uint64)  # a ring of bits, the most significant first
    pairs = words << np.uint64(32) | np.roll(words, -1, axis=-1)
    begins = ((np.arange(256) + 1) * bits - 16) % (256 * bits)
    shifts = (48 - begins % 32).astype(np.uint64)
    return (pairs[..., begins // 32] >> shifts).astype(np.uint32) & np.uint32(0xFFFF)


def _tiles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[R, C, 256] symbols as the matrix [16 R, 16 C]."""
    i, j = np.divmod(np.arange(256), 8)
    row = 2 * (i % 4) + np.array([0, 1, 8, 9])[j % 4]
    column = i // 4 + 8 * (j // 4)
    symbols = np.empty((_TILE, _TILE), np.intp)
    symbols[row, column] = np.arange(256)
    tiles = values[..., symbols]
    return tiles.transpose(0, 2, 1, 3).reshape(values.shape[0] * _TILE, -1)


def _codebook(tensors: MappedTensors, module: str) -> NDArray[np.float32]:
    """The value of each of the 65,536 states."""
    states = np.arange(1 << 16, dtype=np.uint32)
    if f"{module}.mul1" in tensors:
        hashed = states * np.uint32(_MUL1_MULTIPLIER)
        total = hashed.view(np.uint8).reshape(-1, 4).sum(axis=1, dtype=np.uint16)
        as_half = (total + np.uint16(0x6400)).view(np.float16).astype(np.float32)
        scale, shift = np.array([0x1EEE, 0xC931], np.uint16).view(np.float16).astype(np.float32)
        return (as_half * scale + shift).astype(np.float16).astype(np.float32)
    if f"{module}.mcg" in tensors:
        hashed = states * np.uint32(_MCG_MULTIPLIER)
    else:
        hashed = states * np.uint32(89_226_354) + np.uint32(64_248_484)
    halves = (hashed & np.uint32(0x8FFF8FFF) ^ np.uint32(0x3B603B60)).view(np.float16).reshape(-1, 2)
    return (halves[:, 0] + halves[:, 1]).astype(np.float32)


EXL3 = Format("EXL3", _owns, _read, is_experimental=True)
