"""Headers of one quantised layer in each format, as its maker's tools write them: 256 inputs, 128 outputs."""

from __future__ import annotations

from pathlib import Path

from publican.core.model import TensorInfo

INPUTS, OUTPUTS = 256, 128
WEIGHTS = INPUTS * OUTPUTS
_BITS = {"I32": 32, "I16": 16, "F16": 16, "BF16": 16, "F32": 32, "U8": 8, "I8": 8, "F8_E4M3": 8, "I64": 64}


def tensors(**shapes: tuple[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    """Of the module ``model.layers.0.mlp.up_proj``; keywords have __ for a dot."""
    found = {}
    for key, (dtype, shape) in shapes.items():
        num = 1
        for dim in shape:
            num *= dim
        name = "model.layers.0.mlp.up_proj." + key.replace("__", ".").replace(".nf4", "__nf4")
        found[name] = TensorInfo(name, dtype, shape, Path("x"), 0, num * _BITS[dtype] // 8)
    return found


def gptq(bits: int = 4, group: int = 64, order: bool = True) -> dict[str, TensorInfo]:
    groups = 1 if group < 0 else INPUTS // group
    found = tensors(
        qweight=("I32", (INPUTS * bits // 32, OUTPUTS)),
        qzeros=("I32", (groups, OUTPUTS * bits // 32)),
        scales=("F16", (groups, OUTPUTS)),
        g_idx=("I32", (INPUTS,)),
    )
    return found if order else {name: info for name, info in found.items() if not name.endswith("g_idx")}


AWQ = tensors(qweight=("I32", (INPUTS, OUTPUTS // 8)), qzeros=("I32", (2, OUTPUTS // 8)), scales=("F16", (2, OUTPUTS)))
EXL2 = tensors(
    q_weight=("I32", (INPUTS * 4 // 32, OUTPUTS)),
    q_scale=("I32", (2, OUTPUTS // 8)),
    q_scale_max=("F16", (2,)),
    q_groups=("I16", (4,)),
    q_invperm=("I32", (INPUTS,)),
)
EXL3 = tensors(trellis=("I16", (INPUTS // 16, OUTPUTS // 16, 48)), suh=("F16", (INPUTS,)), svh=("F16", (OUTPUTS,)))
COMPRESSED = tensors(
    weight_packed=("I32", (OUTPUTS, INPUTS * 4 // 32)), weight_scale=("BF16", (OUTPUTS, 2)), weight_shape=("I64", (2,))
)
NVFP4_COMPRESSED = tensors(
    weight_packed=("U8", (OUTPUTS, INPUTS // 2)),
    weight_scale=("F8_E4M3", (OUTPUTS, INPUTS // 16)),
    weight_global_scale=("F32", (1,)),
)
NVFP4_MODELOPT = tensors(
    weight=("U8", (OUTPUTS, INPUTS // 2)),
    weight_scale=("F8_E4M3", (OUTPUTS, INPUTS // 16)),
    weight_scale_2=("F32", ()),
    input_scale=("F32", ()),
)
BNB4 = tensors(
    weight=("U8", (WEIGHTS // 2, 1)),
    weight__absmax=("U8", (WEIGHTS // 64,)),
    weight__nested_absmax=("F32", (2,)),
    weight__quant_map=("F32", (16,)),
    weight__quant_state__bitsandbytes__nf4=("U8", (90,)),
)
BNB8 = tensors(weight=("I8", (OUTPUTS, INPUTS)), SCB=("F32", (OUTPUTS,)))
FP8 = tensors(weight=("F8_E4M3", (OUTPUTS, INPUTS)), weight_scale_inv=("F32", (1, 2)))
MXFP4 = tensors(experts_blocks=("U8", (OUTPUTS, INPUTS // 32, 16)), experts_scales=("U8", (OUTPUTS, INPUTS // 32)))
HQQ = tensors(W_q=("U8", (OUTPUTS, INPUTS // 2)), scale=("F16", (512, 1)), zero=("F16", (512, 1)))
AQLM = tensors(codes=("I8", (16, 32, 1)), codebooks=("F16", (1, 256, 1, 8)), scales=("F16", (16, 1, 1, 1)))
MARLIN = tensors(B=("I32", (INPUTS // 16, OUTPUTS * 2)), s=("F16", (2, OUTPUTS)))
PLAIN = tensors(weight=("BF16", (OUTPUTS, INPUTS)))
