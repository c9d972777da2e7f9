"""Which quantisation a GGUF file is, by the types of its tensors; its own word for it only where these agree. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from publican.core.model import TensorInfo
from publican.store.recognise.form import Form

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""`general.file_type` as llama.cpp numbers it. A mixture of types has one name."""
_MAIN_TYPES = {"Q2_K_S": "Q2_K", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S", "IQ2_M": "IQ2_S"}
"""The tensor type that a mixture has most of, where its name does not begin with it."""


def recognise_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> Form:
    """The form of a file whose header this is."""
    sizes: Counter[str] = Counter()
    for info in tensors.values():
        sizes[info.dtype] += info.num_bytes
    num_params = sum(math.prod(info.shape) for info in tensors.values())
    num_bytes = sum(sizes.values())
    total = max(1, num_bytes)
    parts = [f"{kind} {100 * size / total:.0f}%" for kind, size in sizes.most_common(4) if 200 * size >= total]
    return Form(_name(metadata, sizes), num_params, num_bytes, {"types": ", ".join(parts)} if parts else {})


def _name(metadata: Mapping[str, Any], sizes: Counter[str]) -> str:
    """The file's own name for its mixture if it has tensors of that kind, else the type of most of its bytes."""
    file_type = metadata.get("general.file_type")
    said = _FILE_TYPES.get(file_type, "") if type(file_type) is int else ""
    main = _MAIN_TYPES.get(said, said)
    if main and any(main == kind or main.startswith(f"{kind}_") for kind in sizes):
        return said
    return sizes.most_common(1)[0][0] if sizes else "empty"
