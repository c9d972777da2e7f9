"""EXL2 and EXL3: widths that differ from layer to layer. Pure."""

from __future__ import annotations

import math

from publican.core.model import TensorInfo
from publican.store.recognise.tensors import Samples, Settings, Tensors


def exl2_packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
    if not name.endswith(".q_weight"):
        return None
    module = name.removesuffix(".q_weight")
    order = tensors.get(f"{module}.q_invperm") or tensors.get(f"{module}.q_perm")
    return (math.prod(order.shape) if order else 0) * (info.shape[1] if len(info.shape) == 2 else 0)


def stated_bits(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    facts = {}
    bits, head = settings.get("bits"), settings.get("head_bits")
    if isinstance(bits, int | float):
        facts["bits"] = f"{bits:g} on the average"
    if isinstance(head, int | float):
        facts["output bits"] = f"{head:g}"
    return facts


def exl3_packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
    if not name.endswith(".trellis"):
        return None
    return info.shape[0] * info.shape[1] * 256 if len(info.shape) == 3 else 0


def exl3_facts(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    widths = sorted({info.shape[-1] // 16 for name, info in tensors.items() if name.endswith(".trellis") and info.shape})
    return stated_bits(tensors, settings, sampled) | {"bits of layers": ", ".join(map(str, widths[:8]))}
