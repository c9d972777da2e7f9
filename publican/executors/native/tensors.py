"""`MappedTensors`: the tensors of a checkpoint as arrays over memory-mapped files.

Knows files, shapes and element types; no format. Used while a model is loaded, on one thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import ModelFileError
from publican.core.model import TensorInfo

_DTYPES: Mapping[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # NumPy has no bfloat16
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "?",
}


class MappedTensors:
    """Reads tensors by name. An array it gives out keeps its file mapped for as long as it lives."""

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        self.infos = tensors
        self._files: dict[Path, NDArray[np.uint8]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.infos

    def info(self, name: str) -> TensorInfo:
        """Raises ModelFileError where there is no such tensor."""
        if name not in self.infos:
            raise ModelFileError(f"The model's files are incomplete: there is no tensor {name}; download the model again.")
        return self.infos[name]

    def raw(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor, a view of its mapped file.

        Raises:
            ModelFileError: there is none of that name, or its file ends too early.
        """
        info = self.info(name)
        data = self._map(info.file)
        if info.offset < 0 or info.num_bytes < 0 or info.offset + info.num_bytes > len(data):
            raise ModelFileError(f"{info.file.name} is truncated: {name} lies beyond its end; download the model again.")
        return data[info.offset : info.offset + info.num_bytes]

    def array(self, name: str, *kinds: str) -> NDArray[Any]:
        """A tensor of plain numbers in its own shape; bfloat16 comes as uint16. With `kinds`, of one of those types only.

        Raises:
            ModelFileError: there is none, it is of another type, or its size does not fit its shape.
        """
        info, raw = self.info(name), self.raw(name)
        dtype = _DTYPES.get(info.dtype)
        if dtype is None or (kinds and info.dtype not in kinds):
            wanted = ", ".join(kinds or _DTYPES)
            raise ModelFileError(
                f"The tensor {name} is of type {info.dtype}, where {wanted} belongs; download the model again."
            )
        if math.prod(info.shape) * np.dtype(dtype).itemsize != len(raw):
            raise ModelFileError(f"The tensor {name} has the wrong size for its shape; download the model again.")
        if info.offset % np.dtype(dtype).itemsize:
            raw = raw.copy()  # safetensors promises no alignment
        return raw.view(dtype).reshape(info.shape)

    def floats(self, name: str) -> NDArray[np.float32]:
        """A tensor of floats, as float32."""
        values = self.array(name, "F64", "F32", "F16", "BF16")
        if values.dtype == np.uint16:
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32)

    def _map(self, file: Path) -> NDArray[np.uint8]:
        if file not in self._files:
            try:
                self._files[file] = np.asarray(np.memmap(file, np.uint8, "r"))
            except (OSError, ValueError) as error:
                raise ModelFileError(f"{file} cannot be read ({error}); download the model again.") from error
        return self._files[file]
