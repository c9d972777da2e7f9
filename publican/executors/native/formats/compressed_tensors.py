"""compressed-tensors (llm-compressor) in its `pack-quantized` form: 4 or 8 bits, packed along the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.executors.native.formats.affine import affine_matrix, groups_of
from publican.executors.native.formats.bits import unpack_stream
from publican.executors.native.formats.format import Format, Shape
from publican.executors.native.layout import QuantizedMatrix
from publican.executors.native.tensors import MappedTensors


def _owns(tensors: MappedTensors, module: str) -> bool:
    return f"{module}.weight_packed" in tensors


def _read(tensors: MappedTensors, module: str, settings: Mapping[str, Any], shape: Shape) -> QuantizedMatrix:
    if f"{module}.weight_global_scale" in tensors:
        raise UnsupportedModel(
            "The model is in NVFP4, which is not read here; pull it as AWQ, GPTQ, pack-quantized int4 or GGUF."
        )
    packed = tensors.array(f"{module}.weight_packed", "I32")
    scales = tensors.floats(f"{module}.weight_scale")
    if packed.ndim != 2 or scales.ndim != 2 or packed.shape[0] != scales.shape[0] or not all((*packed.shape, *scales.shape)):
        raise ModelFileError(f"The tensors of {module} do not fit one another; download the model again.")
    num_outputs, num_inputs = _shape(tensors, module, shape)
    bits = _bits_of(packed.shape[1], num_inputs, module)
    num_groups = scales.shape[1]
    group_of = tensors.array(f"{module}.weight_g_idx", "I32") if f"{module}.weight_g_idx" in tensors else None
    if group_of is not None and (group_of < 0).all():
        group_of = None  # -1 throughout says that the groups are in order
    groups = groups_of(group_of, num_inputs, num_groups, 0, module)
    zeros = np.full((num_groups, num_outputs), 1 << (bits - 1), np.float32)
    if f"{module}.weight_zero_point" in tensors:
        words = tensors.array(f"{module}.weight_zero_point", "I32")
        if words.ndim != 2 or words.shape[1] != num_groups or words.shape[0] * 32 // bits < num_outputs:
            raise ModelFileError(f"The zero points of {module} do not fit its size; download the model again.")
        zeros = unpack_stream(words, bits)[:num_outputs].T.astype(np.float32)
    codes = unpack_stream(packed.T, bits)[:num_inputs]
    return affine_matrix(codes, scales.T, zeros, groups, bits)


def _shape(tensors: MappedTensors, module: str, shape: Shape) -> Shape:
    """The file's own word for it: packing rounds the inputs up to whole words."""
    if f"{module}.weight_shape" not in tensors:
        return shape
    stated = tensors.array(f"{module}.weight_shape", "I64", "I32")
    if stated.shape != (2,) or stated.min() <= 0:
        raise ModelFileError(f"The shape of {module} is damaged; download the model again.")
    return int(stated[0]), int(stated[1])


def _bits_of(num_words: int, num_inputs: int, module: str) -> int:
    for bits in (4, 8):
        if -(-num_inputs * bits // 32) == num_words:
            return bits
    raise UnsupportedModel(
        f"{module} is packed to a width other than 4 or 8 bits, which is not read here; pull it as AWQ, GPTQ or GGUF."
    )


COMPRESSED_TENSORS = Format("compressed-tensors", _owns, _read)
