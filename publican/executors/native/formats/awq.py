"""AWQ in its `gemm` packing: codes and zeros packed along the outputs, eight to a word in an interleaved order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.executors.native.formats.affine import affine_matrix, groups_of
from publican.executors.native.formats.format import Format, Shape
from publican.executors.native.layout import QuantizedMatrix
from publican.executors.native.tensors import MappedTensors

_NIBBLE_OF_COLUMN = np.array([0, 4, 1, 5, 2, 6, 3, 7], np.uint32)


def _owns(tensors: MappedTensors, module: str) -> bool:
    """GPTQ has the same names, but packs `qweight` along the other side."""
    if not {f"{module}.qweight", f"{module}.scales"} <= tensors.infos.keys():
        return False
    qweight, scales = tensors.infos[f"{module}.qweight"].shape, tensors.infos[f"{module}.scales"].shape
    return len(qweight) == len(scales) == 2 and qweight[1] * 8 == scales[1] and f"{module}.g_idx" not in tensors


def _read(tensors: MappedTensors, module: str, settings: Mapping[str, Any], shape: Shape) -> QuantizedMatrix:
    version = str(settings.get("version") or "gemm").lower()
    if version != "gemm":
        raise UnsupportedModel(
            f"The model is in the AWQ variant {version!r}, which is not read here; pull AWQ of version GEMM, GPTQ or GGUF."
        )
    qweight = tensors.array(f"{module}.qweight", "I32")
    scales = tensors.floats(f"{module}.scales")
    num_groups, num_inputs = scales.shape[0], qweight.shape[0]
    if f"{module}.qzeros" in tensors:
        qzeros = tensors.array(f"{module}.qzeros", "I32")
        if qzeros.shape != (num_groups, qweight.shape[1]):
            raise ModelFileError(f"The tensors of {module} do not fit one another; download the model again.")
        zeros = _unpack(qzeros).astype(np.float32)
    else:
        zeros = np.full(scales.shape, 8, np.float32)
    stated = settings.get("group_size", settings.get("q_group_size", 0))
    groups = groups_of(None, num_inputs, num_groups, stated if isinstance(stated, int) else 0, module)
    return affine_matrix(_unpack(qweight), scales, zeros, groups, 4)


def _unpack(words: NDArray[np.int32]) -> NDArray[np.uint8]:
    """[R, N / 8] words as [R, N] codes of four bits."""
    nibbles = words.view(np.uint32)[..., None] >> 4 * _NIBBLE_OF_COLUMN & 15
    return nibbles.astype(np.uint8).reshape(words.shape[0], -1)


AWQ = Format("AWQ", _owns, _read)
