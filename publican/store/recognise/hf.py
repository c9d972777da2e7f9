"""Which of the quantisations of Hugging Face models one is, by the names, types and shapes of its tensors.

Configurations of 2023 are often missing or wrong, so they only say what tensors cannot: versions, and names of variants.
Two things are told by a few bytes of data: which zero-point convention a GPTQ has, and whether its rows are reordered.
`samples` names those bytes, so that they can be read from a disk or fetched from afar. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from publican.core.model import TensorInfo
from publican.store.recognise.exl import exl2_packed, exl3_facts, exl3_packed, stated_bits
from publican.store.recognise.form import Form
from publican.store.recognise.gptq import awq_facts, gptq_facts, gptq_packed, is_awq
from publican.store.recognise.others import (
    bnb_facts,
    bnb_packed,
    compressed_facts,
    compressed_packed,
    fp8_facts,
    hqq_facts,
    hqq_packed,
    is_fp8,
    is_mxfp4,
    modelopt_packed,
)
from publican.store.recognise.tensors import Packed, Samples, Settings, Tensors, ends, has, no_facts, not_packed, times

SAMPLE_BYTES = 64 << 10
"""A row order of 16,384 inputs."""

_TABLES = (
    ".qzeros", ".scales", ".g_idx", ".q_scale", ".q_scale_max", ".q_groups", ".q_invperm", ".q_perm", ".suh", ".svh", ".su",
    ".sv", ".mcg", ".mul1", ".weight_scale", ".weight_scale_inv", ".weight_scale_2", ".weight_zero_point", ".weight_shape",
    ".weight_g_idx", ".weight_global_scale", ".input_scale", ".input_global_scale", ".k_scale", ".v_scale", ".output_scale",
    ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB", ".weight_format", "_scales", ".scale", ".zero",
    ".meta", ".inv_freq", ".compute_dtype", ".quant_scheme", ".unpack_view_dtype", ".offload_meta", ".nbits", ".group_size",
    ".zero_scale", ".axis", ".packing", ".shape", ".stores_quant_config", ".encoded_state_dict", ".scale_and_zero",
    ".activation_scale", ".s",
)  # fmt: skip
"""Endings of tensors that are not weights but say how to read them."""


class Recogniser(NamedTuple):
    """One format: how to see that a model is in it, how many weights a tensor holds, and what else there is to say."""

    name: str
    seen: Callable[[Tensors], bool]
    packed: Packed
    facts: Callable[[Tensors, Settings, Samples], dict[str, str]]


def samples(tensors: Tensors) -> dict[str, TensorInfo]:
    """The tensors whose first `SAMPLE_BYTES` help to tell variants of GPTQ apart: one each of two kinds."""
    wanted = {}
    for ending in (".qzeros", ".g_idx"):
        name = min((name for name in tensors if name.endswith(ending)), default=None)
        if name is not None:
            wanted[name] = tensors[name]
    return wanted


def recognise(tensors: Tensors, settings: Settings, sampled: Samples) -> Form:
    """What form the model is in.

    Args:
        tensors: of all its files.
        settings: the quantiser's own, wherever they were found; may be empty, or anything.
        sampled: the bytes of `samples`, as far as they could be had.
    """
    found = next((one for one in RECOGNISERS if one.seen(tensors)), None)
    packed = found.packed if found else not_packed
    num_params = 0
    for name, info in tensors.items():
        count = packed(name, info, tensors, settings)
        if count is None:
            count = 0 if name.endswith(_TABLES) or ".quant_state." in name else math.prod(info.shape)
        num_params += count
    num_bytes = sum(info.num_bytes for info in tensors.values())
    if found is None:
        return _plain(tensors, settings, num_params, num_bytes)
    return Form(found.name, num_params, num_bytes, found.facts(tensors, settings, sampled))


def _plain(tensors: Tensors, settings: Settings, num_params: int, num_bytes: int) -> Form:
    """No quantisation that can be seen; a configuration that names one makes it that, unread."""
    sizes: Counter[str] = Counter()
    for info in tensors.values():
        sizes[info.dtype] += info.num_bytes
    method = settings.get("quant_method")
    if isinstance(method, str) and method:
        return Form(method[:40], num_params, num_bytes, {"told by": "its configuration alone"})
    (main, _), *_ = sizes.most_common(1) or [("empty", 0)]
    facts = {"also holds": ", ".join(kind for kind, _ in sizes.most_common()[1:5])} if len(sizes) > 1 else {}
    return Form(f"plain {main.lower()}", num_params, num_bytes, facts)


RECOGNISERS: tuple[Recogniser, ...] = (
    Recogniser("EXL2", has(".q_weight", ".q_scale"), exl2_packed, stated_bits),
    Recogniser("EXL3", ends(".trellis"), exl3_packed, exl3_facts),
    Recogniser("AWQ", is_awq, times(".qweight", 8), awq_facts),
    Recogniser("GPTQ", has(".qweight", ".qzeros", ".scales"), gptq_packed, gptq_facts),
    Recogniser("NVFP4", has(".weight_packed", ".weight_global_scale"), times(".weight_packed", 2), no_facts),
    Recogniser("NVFP4", has(".weight", ".weight_scale", ".weight_scale_2"), modelopt_packed, no_facts),
    Recogniser("compressed-tensors", has(".weight_packed", ".weight_scale"), compressed_packed, compressed_facts),
    Recogniser("bitsandbytes 4-bit", has(".weight", ".weight.absmax"), bnb_packed, bnb_facts),
    Recogniser("bitsandbytes 8-bit", has(".weight", ".SCB"), not_packed, no_facts),
    Recogniser("MXFP4", is_mxfp4, times("_blocks", 2), no_facts),
    Recogniser("HQQ", ends(".W_q"), hqq_packed, hqq_facts),
    Recogniser("FP8", is_fp8, not_packed, fp8_facts),
    Recogniser("AQLM", ends(".codebooks"), not_packed, no_facts),
    Recogniser("VPTQ", ends(".centroids"), not_packed, no_facts),
    Recogniser("QuIP#", ends(".Qidxs"), not_packed, no_facts),
    Recogniser("Marlin", has(".B", ".s"), times(".B", 8), no_facts),
)
"""In the order of `engine.md` 1.0: the first that sees its tensors has it."""
