"""The quant in the name of a GGUF file, as everybody writes it: ``model.Q4_K_M.gguf``. Pure."""

from __future__ import annotations

import re

_QUANT = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q[1-8](?:_[0-9A-Za-z]+){1,3}|TQ[12]_0|BF16|F16|F32|FP16|FP32|MXFP4(?:_MOE)?|NVFP4))"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)


def quant_of(name: str) -> str:
    """The quant in the name of a file, in capitals; empty if there is none."""
    found = _QUANT.findall(name)
    return str(found[-1]).upper().replace("FP16", "F16").replace("FP32", "F32") if found else ""


def is_projector(name: str) -> bool:
    """Whether a file of that name is the part of a model that sees."""
    return "mmproj" in name.lower()
