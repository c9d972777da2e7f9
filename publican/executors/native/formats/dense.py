"""Weights as they were trained: F32, F16 and BF16 tensors named ``….weight``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from publican.core.errors import ModelFileError
from publican.executors.native.formats.format import Format, Shape
from publican.executors.native.layout import DenseMatrix
from publican.executors.native.tensors import MappedTensors


def _owns(tensors: MappedTensors, module: str) -> bool:
    return f"{module}.weight" in tensors


def _read(tensors: MappedTensors, module: str, settings: Mapping[str, Any], shape: Shape) -> DenseMatrix:
    values = tensors.array(f"{module}.weight", "F32", "F16", "BF16")
    if values.ndim != 2:
        raise ModelFileError(f"The tensor {module}.weight should be a matrix; download the model again.")
    return DenseMatrix(values)


DENSE = Format("dense", _owns, _read)
