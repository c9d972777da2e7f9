"""GPTQ and AWQ: tensors of the same names, which GPTQ packs along the inputs of a layer and AWQ along its outputs. Pure."""

from __future__ import annotations

import itertools
import math
import struct

from publican.core.model import TensorInfo
from publican.store.recognise.tensors import Samples, Settings, Tensors, first


def is_awq(tensors: Tensors) -> bool:
    for name, info in tensors.items():
        if name.endswith(".qweight"):
            module = name.removesuffix(".qweight")
            scales = tensors.get(f"{module}.scales")
            if f"{module}.g_idx" in tensors or scales is None or len(info.shape) != 2 or len(scales.shape) != 2:
                return False
            return info.shape[1] != scales.shape[1]
    return False


def _gptq_bits(module: str, tensors: Tensors) -> int:
    zeros, scales = tensors.get(f"{module}.qzeros"), tensors.get(f"{module}.scales")
    if zeros is None or scales is None or len(zeros.shape) != 2 or len(scales.shape) != 2 or not scales.shape[1]:
        return 0
    return 32 * zeros.shape[1] // scales.shape[1]


def gptq_packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
    if not name.endswith(".qweight"):
        return None
    bits = _gptq_bits(name.removesuffix(".qweight"), tensors) or 4
    return math.prod(info.shape) * 32 // bits


def gptq_facts(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    found = first(tensors, ".qweight")
    assert found is not None
    module, qweight = found
    bits = _gptq_bits(module, tensors)
    facts = {"bits": str(bits or "?")}
    scales = tensors.get(f"{module}.scales")
    if bits and scales is not None and scales.shape[0] and len(qweight.shape) == 2:
        num_inputs = qweight.shape[0] * 32 // bits
        facts["group size"] = _group(num_inputs, scales.shape[0])
        facts["act-order"] = _act_order(tensors, sampled, num_inputs, scales.shape[0])
    facts["zero points"] = _zero_points(bits, settings, sampled)
    if settings.get("is_marlin_format") is True or settings.get("checkpoint_format") == "marlin":
        facts["variant"] = "Marlin"
    return facts


def _group(num_inputs: int, num_groups: int) -> str:
    if num_groups == 1:
        return "none (one for each column)"
    size = -(-num_inputs // num_groups)
    return str(1 << (size - 1).bit_length())


def _act_order(tensors: Tensors, sampled: Samples, num_inputs: int, num_groups: int) -> str:
    """Whether the rows' groups are scattered. The order itself decides; flags in configurations do not."""
    name = min((name for name in tensors if name.endswith(".g_idx")), default=None)
    if name is None:
        return "no"
    data = sampled.get(name, b"")
    if len(data) < 8:
        return "perhaps"
    order = struct.unpack(f"<{len(data) // 4}i", data[: len(data) // 4 * 4])
    return "no" if not any(order) or all(a <= b for a, b in itertools.pairwise(order)) else "yes"


_SYMMETRIC = {
    (bits, less): sum((2 ** (bits - 1) - less) << shift for shift in range(0, 32, bits))
    for bits in (2, 4, 8)
    for less in (0, 1)
}
"""By width and by what is taken off: a word of zero points that all mean the middle."""


def _zero_points(bits: int, settings: Settings, sampled: Samples) -> str:
    """Version 1 stores them less one. Symmetric files show it; others must be believed."""
    data = next((data for name, data in sampled.items() if name.endswith(".qzeros")), b"")
    words = set(struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4]))
    for (width, less), word in _SYMMETRIC.items():
        if width == bits and words == {word}:
            return f"symmetric, {'stored less one (version 1)' if less else 'stored as they are (version 2)'}"
    said = settings.get("checkpoint_format") or settings.get("quant_method")
    return f"asymmetric, {'stored as they are (version 2)' if said == 'gptq_v2' else 'stored less one (version 1)'}"


def awq_facts(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    found = first(tensors, ".qweight")
    assert found is not None
    module, qweight = found
    facts = {"bits": str(settings.get("bits") or settings.get("w_bit") or 4)}
    scales = tensors.get(f"{module}.scales")
    if scales is not None and len(scales.shape) == 2 and scales.shape[0] and len(qweight.shape) == 2:
        facts["group size"] = _group(qweight.shape[0], scales.shape[0])
    version = settings.get("version")
    if isinstance(version, str):
        facts["variant"] = version.lower()[:20]
    return facts
