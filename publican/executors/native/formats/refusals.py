"""Formats that are known by sight and not read: each by name, with what to take instead."""

from __future__ import annotations

from collections.abc import Mapping

from publican.core.errors import UnsupportedModel
from publican.core.model import TensorInfo

_BY_SUFFIX: Mapping[str, str] = {
    ".absmax": "bitsandbytes 4-bit",
    ".SCB": "bitsandbytes 8-bit",
    ".W_q": "HQQ",
    ".weight_scale_2": "NVFP4",
    ".weight_global_scale": "NVFP4",
    "_blocks": "MXFP4",
    ".codebooks": "AQLM",
    ".centroids": "VPTQ",
    ".Qidxs": "QuIP#",
    ".B": "Marlin",
}
_BY_DTYPE: Mapping[str, str] = {"F8_E4M3": "FP8", "F8_E5M2": "FP8", "F4": "FP4", "I8": "8-bit integers without packing"}


def refuse_unread_formats(tensors: Mapping[str, TensorInfo]) -> None:
    """Look at the names and types of a Hugging Face model's tensors.

    Raises:
        UnsupportedModel: they are in a format that nothing here reads.
    """
    for name, info in tensors.items():
        suffix = next((end for end in _BY_SUFFIX if name.endswith(end)), None)
        found = _BY_SUFFIX[suffix] if suffix else _BY_DTYPE.get(info.dtype)
        if found is not None:
            raise UnsupportedModel(
                f"The model is quantised as {found} ({name}), which is not read here; "
                "pull the same model as GGUF, AWQ, GPTQ or EXL2, or unquantised."
            )
