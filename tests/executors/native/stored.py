"""Puts arrays into a file, as some format would, and reads them back as `MappedTensors`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from publican.core.model import TensorInfo
from publican.executors.native.tensors import MappedTensors

DTYPES = {"f4": "F32", "f2": "F16", "u2": "BF16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u1": "U8"}


def infos(
    folder: Path, arrays: Mapping[str, np.ndarray[Any, Any]], gguf_types: Mapping[str, str] | None = None
) -> dict[str, TensorInfo]:
    """Where each array lies in the file that this writes. uint16 stands for bfloat16.

    Args:
        gguf_types: name of the type of arrays that hold GGUF blocks: bytes [outputs, bytes of a row].
    """
    file = folder / "tensors.bin"
    found, data = {}, b"\1"  # an odd beginning: safetensors promises no alignment
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        kind = (gguf_types or {}).get(name)
        dtype, shape = DTYPES[array.dtype.str[1:]], tuple(array.shape)
        if kind is not None:
            dtype, shape = kind, (array.shape[0], array.shape[1] // BLOCK_BYTES[kind] * BLOCK_LEN[kind])
        found[name] = TensorInfo(name, dtype, shape, file, len(data), len(raw))
        data += raw
    file.write_bytes(data)
    return found


def stored(
    folder: Path, arrays: Mapping[str, np.ndarray[Any, Any]], gguf_types: Mapping[str, str] | None = None
) -> MappedTensors:
    return MappedTensors(infos(folder, arrays, gguf_types))


BLOCK_LEN = {"Q4_0": 32, "Q4_1": 32, "Q5_0": 32, "Q5_1": 32, "Q8_0": 32} | {f"Q{i}_K": 256 for i in range(2, 7)}
BLOCK_BYTES = {"Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34, "Q2_K": 84, "Q3_K": 110, "Q4_K": 144, "Q5_K": 176}
BLOCK_BYTES["Q6_K"] = 210
