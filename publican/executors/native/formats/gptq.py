"""GPTQ: `qweight` packed along the inputs, `qzeros` along the outputs, and perhaps `g_idx` (act-order).

Two conventions for zeros are about: files of version 1 store them less one. Both as AutoGPTQ and GPTQModel write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.executors.native.formats.affine import affine_matrix, groups_of
from publican.executors.native.formats.bits import unpack_stream, words_per_unit
from publican.executors.native.formats.format import Format, Shape
from publican.executors.native.layout import QuantizedMatrix
from publican.executors.native.tensors import MappedTensors

_BITS = (2, 3, 4, 8)
_ZERO_BIASES = {"": 1, "gptq": 1, "gptq_v2": 0}


def _owns(tensors: MappedTensors, module: str) -> bool:
    return f"{module}.qweight" in tensors


def _read(tensors: MappedTensors, module: str, settings: Mapping[str, Any], shape: Shape) -> QuantizedMatrix:
    zero_bias = _ZERO_BIASES.get(_format_of(settings))
    if zero_bias is None:
        raise UnsupportedModel(
            f"The model is in the GPTQ variant {_format_of(settings)!r}, which is not read here; "
            "pull it as plain GPTQ, AWQ or GGUF."
        )
    qweight = tensors.array(f"{module}.qweight", "I32")
    qzeros = tensors.array(f"{module}.qzeros", "I32")
    scales = tensors.floats(f"{module}.scales")
    if qweight.ndim != 2 or qzeros.ndim != 2 or scales.ndim != 2 or not all((*qweight.shape, *scales.shape)):
        raise ModelFileError(f"The tensors of {module} have the wrong shape; download the model again.")
    num_groups, num_outputs = scales.shape
    g_idx = tensors.array(f"{module}.g_idx", "I32") if f"{module}.g_idx" in tensors else None
    bits = 32 * qzeros.shape[1] // num_outputs  # the tensors know better than the settings, which may be missing
    if bits not in _BITS:
        raise UnsupportedModel(
            f"{module} has GPTQ weights of {bits} bits, and only {', '.join(map(str, _BITS))} are read here; "
            "pull a 4-bit version."
        )
    num_inputs = qweight.shape[0] * 32 // bits
    unit = words_per_unit(bits)
    fits = qweight.shape[0] % unit == 0 and qzeros.shape[1] % unit == 0
    if not fits or qweight.shape[1] != num_outputs or qzeros.shape != (num_groups, num_outputs * bits // 32):
        raise ModelFileError(f"The tensors of {module} do not fit one another; download the model again.")
    groups = groups_of(g_idx, num_inputs, num_groups, _group_len_of(settings), module)
    zeros = unpack_stream(qzeros.T, bits).T.astype(np.float32) + zero_bias
    return affine_matrix(unpack_stream(qweight, bits), scales, zeros, groups, bits)


def _format_of(settings: Mapping[str, Any]) -> str:
    if settings.get("is_marlin_format") is True:
        return "marlin"
    if settings.get("quant_method") == "gptq_v2":
        return "gptq_v2"
    return str(settings.get("checkpoint_format") or "")


def _group_len_of(settings: Mapping[str, Any]) -> int:
    stated = next((settings[k] for k in ("group_size", "q_group_size", "groupsize") if settings.get(k) is not None), 0)
    return stated if isinstance(stated, int) else 0


GPTQ = Format("GPTQ", _owns, _read)
