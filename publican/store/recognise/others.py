"""The formats that are one idea each: compressed-tensors, bitsandbytes, FP8, MXFP4, HQQ. Pure."""

from __future__ import annotations

import math

from publican.core.model import TensorInfo
from publican.store.recognise.tensors import Samples, Settings, Tensors


def _compressed_weights(settings: Settings) -> Settings:
    groups = settings.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    return weights if isinstance(weights, dict) else {}


def compressed_packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
    if not name.endswith(".weight_packed"):
        return None
    bits = _compressed_weights(settings).get("num_bits")
    return math.prod(info.shape) * 32 // (bits if isinstance(bits, int) and 0 < bits <= 32 else 4)


def compressed_facts(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    weights = _compressed_weights(settings)
    named = {"bits": "num_bits", "group size": "group_size", "symmetric": "symmetric", "act-order": "actorder"}
    facts = {fact: str(weights[key])[:20] for fact, key in named.items() if weights.get(key) is not None}
    if isinstance(settings.get("format"), str):
        facts["variant"] = settings["format"][:40]
    return facts


def bnb_packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
    return 2 * math.prod(info.shape) if f"{name}.absmax" in tensors else None


def modelopt_packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
    """NVIDIA's NVFP4: two weights in a byte, where there are scales of two kinds."""
    return 2 * math.prod(info.shape) if name.endswith(".weight") and f"{name}_scale_2" in tensors else None


def bnb_facts(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    kinds = {name.rsplit("__", 1)[-1] for name in tensors if ".quant_state.bitsandbytes__" in name}
    nested = any(name.endswith(".nested_absmax") for name in tensors)
    return {"bits": "4", "type": ", ".join(sorted(kinds)) or "?", "scales": "quantised too" if nested else "float32"}


def is_fp8(tensors: Tensors) -> bool:
    return any(info.dtype.startswith("F8_E") and info.dtype != "F8_E8M0" for info in tensors.values())


def fp8_facts(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    kinds = sorted({info.dtype for info in tensors.values() if info.dtype.startswith("F8_E")})
    facts = {"type": ", ".join(kinds)}
    if any(name.endswith(".weight_scale_inv") for name in tensors):
        facts["scales"] = f"for blocks of {str(settings.get('weight_block_size', '[128, 128]'))[:20]}"
    elif any(name.endswith(".weight_scale") for name in tensors):
        facts["scales"] = "for tensors or columns"
    return facts


def is_mxfp4(tensors: Tensors) -> bool:
    ends = (name.removesuffix("_blocks") for name, info in tensors.items() if name.endswith("_blocks") and info.dtype == "U8")
    return any(f"{end}_scales" in tensors for end in ends)


def hqq_packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
    if not name.endswith(".W_q"):
        return None
    bits = _hqq_bits(settings)
    return math.prod(info.shape) * (8 // bits if info.dtype in ("U8", "I8") else 32 // bits)


def hqq_facts(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    return {"bits": str(_hqq_bits(settings))}


def _hqq_bits(settings: Settings) -> int:
    inner = settings.get("quant_config")
    weights = inner.get("weight_quant_params") if isinstance(inner, dict) else None
    bits = weights.get("nbits") if isinstance(weights, dict) else None
    return bits if isinstance(bits, int) and bits in (1, 2, 3, 4, 8) else 4
