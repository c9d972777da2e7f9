"""GGUF's blocks: 32 inputs with one scale and perhaps one offset. The types of 256 inputs are in `gguf_k`.

Each type is a NumPy record, the bytes of one block, and a function from records to codes, scales and offsets. Quantised
values lie on a grid of float16 scales, so codes · scale + offset in float32 is exactly what libggml computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.model import TensorInfo
from publican.executors.native.formats.dense import DENSE
from publican.executors.native.formats.format import Format, Shape
from publican.executors.native.formats.gguf_blocks import Blocks, BlockType
from publican.executors.native.formats.gguf_k import K_TYPES
from publican.executors.native.layout import Matrix, QuantizedMatrix, Segment
from publican.executors.native.tensors import MappedTensors


def _nibbles(qs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[…, 16] bytes as [… · 32] codes: all low halves, then all high ones."""
    return np.concatenate([qs & 15, qs >> 4], axis=-1)


def _fifth_bits(qh: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Bit j of each word as 16 at place j."""
    return ((qh[..., None] >> np.arange(32, dtype=np.uint32) & 1) << 4).astype(np.uint8)


def _q4_0(b: NDArray[Any]) -> Blocks:
    d = b["d"].astype(np.float32)
    return _nibbles(b["qs"]), d, -8 * d


def _q4_1(b: NDArray[Any]) -> Blocks:
    return _nibbles(b["qs"]), b["d"].astype(np.float32), b["m"].astype(np.float32)


def _q5_0(b: NDArray[Any]) -> Blocks:
    d = b["d"].astype(np.float32)
    return _nibbles(b["qs"]) | _fifth_bits(b["qh"]), d, -16 * d


def _q5_1(b: NDArray[Any]) -> Blocks:
    return _nibbles(b["qs"]) | _fifth_bits(b["qh"]), b["d"].astype(np.float32), b["m"].astype(np.float32)


def _q8_0(b: NDArray[Any]) -> Blocks:
    d = b["d"].astype(np.float32)
    return b["qs"] ^ 0x80, d, -128 * d  # int8 plus 128, as unsigned


_DENSE_TYPES = ("F32", "F16", "BF16")
_F16, _QS = ("d", "<f2"), ("qs", "u1", 16)
_TYPES: Mapping[str, BlockType] = {
    "Q4_0": BlockType(np.dtype([_F16, _QS]), 4, 32, _q4_0),
    "Q4_1": BlockType(np.dtype([_F16, ("m", "<f2"), _QS]), 4, 32, _q4_1),
    "Q5_0": BlockType(np.dtype([_F16, ("qh", "<u4"), _QS]), 5, 32, _q5_0),
    "Q5_1": BlockType(np.dtype([_F16, ("m", "<f2"), ("qh", "<u4"), _QS]), 5, 32, _q5_1),
    "Q8_0": BlockType(np.dtype([_F16, ("qs", "u1", 32)]), 8, 32, _q8_0),
    **K_TYPES,
}


def refuse_unread_types(tensors: Mapping[str, TensorInfo]) -> None:
    """Look at the types of a GGUF model's tensors.

    Raises:
        UnsupportedModel: one of them is not read here.
    """
    for name, info in tensors.items():
        if info.dtype not in _TYPES and info.dtype not in _DENSE_TYPES:
            raise _unread(name, info.dtype)


def _unread(name: str, dtype: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{name} is of type {dtype}, which the native loader does not read; load the file with the llama loader, or "
        "pull a Q4_K_M, Q5_K_M, Q6_K or Q8_0 file of the same model."
    )


def _owns(tensors: MappedTensors, module: str) -> bool:
    return f"{module}.weight" in tensors


def _read(tensors: MappedTensors, module: str, settings: Mapping[str, Any], shape: Shape) -> Matrix:
    name = f"{module}.weight"
    info = tensors.info(name)
    if info.dtype in _DENSE_TYPES:
        return DENSE.read(tensors, module, settings, shape)
    kind = _TYPES.get(info.dtype)
    if kind is None:
        raise _unread(name, info.dtype)
    if len(info.shape) != 2:
        raise ModelFileError(f"The tensor {name} should be a matrix; download the model again.")
    num_outputs, num_inputs = info.shape
    raw = tensors.raw(name)
    if num_inputs % kind.num_inputs or len(raw) != num_outputs * num_inputs // kind.num_inputs * kind.record.itemsize:
        raise ModelFileError(f"The tensor {name} has the wrong size for its shape; download the model again.")
    codes, scales, offsets = kind.unpack(raw.view(kind.record).reshape(num_outputs, -1))
    return QuantizedMatrix(
        (
            Segment(
                kind.bits,
                kind.group_len,
                np.ascontiguousarray(codes.reshape(num_outputs, num_inputs)),
                np.ascontiguousarray(scales.reshape(num_outputs, -1)),
                np.ascontiguousarray(offsets.reshape(num_outputs, -1)),
            ),
        )
    )


GGUF = Format("GGUF", _owns, _read)
