"""What a model's weights are, one matrix after another: how large, how coded, and in which layer. Headers only, no numbers.

`weights_of` reads them from a checkpoint; `described` makes those of a model that nobody has downloaded, from its shape and
a number of bits. How many bytes an engine keeps of them is the engine's arithmetic (`hardware.engines`). Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from publican.core.model import Checkpoint, ModelSpec, TensorInfo

Role = Literal["embedding", "layer", "output", "rest"]


@dataclass(frozen=True, slots=True)
class Weight:
    """One matrix, or one vector, of a model.

    Attributes:
        layer: its number, where `role` is ``layer``.
        bits: of a number as its file has it, without scales; a mean where a matrix mixes widths.
        group_len: inputs that share a scale; 0 where there are no scales.
        num_bytes: in the file, scales and all.
        is_dense: plain numbers, as they were trained.
        has_half_scales: scales and offsets are float16 in the file, and not products of several numbers.
        is_rebuilt: engines turn it into float16 when they load it (EXL3).
        is_router: of a mixture of experts; native keeps those in float32.
        num_experts: whose matrices lie side by side here; they are loaded one after another.
    """

    role: Role
    layer: int
    num_outputs: int
    num_inputs: int
    bits: float
    group_len: int
    num_bytes: int
    is_dense: bool = False
    has_half_scales: bool = False
    is_rebuilt: bool = False
    is_router: bool = False
    num_experts: int = 1

    @property
    def num_numbers(self) -> int:
        return self.num_outputs * self.num_inputs

    @property
    def is_vector(self) -> bool:
        return self.num_outputs == 1


_GGUF_CODES: Mapping[str, tuple[int, int]] = {
    "Q4_0": (4, 32),
    "Q4_1": (4, 32),
    "Q5_0": (5, 32),
    "Q5_1": (5, 32),
    "Q8_0": (8, 32),
    "Q2_K": (2, 16),
    "Q3_K": (3, 16),
    "Q4_K": (4, 32),
    "Q5_K": (5, 32),
    "Q6_K": (6, 16),
}
_DENSE_BITS: Mapping[str, int] = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}
_LAYER = re.compile(r"(?:^|\.)(?:blk|layers|h|blocks)\.(\d+)\.")
_ROUTERS = re.compile(r"\.(?:ffn_gate_inp(?:_shexp)?|(?:mlp|block_sparse_moe)\.gate|mlp\.shared_expert_gate)\.weight$")
_EMBEDDINGS = ("token_embd", "embed_tokens", "wte", "embed_in", "tok_embeddings")
_OUTPUTS = ("output", "lm_head", "embed_out")


def weights_of(checkpoint: Checkpoint) -> tuple[Weight, ...]:
    """Every weight that a text model keeps; what belongs to eyes and ears is left out."""
    if checkpoint.format == "gguf":
        return tuple(_placed(_gguf_weight(info), info) for info in checkpoint.tensors.values())
    return tuple(_folder_weights(checkpoint.tensors, checkpoint.quantization))


def _placed(weight: Weight, info: TensorInfo) -> Weight:
    """With what its name and its shape say of mixtures."""
    if _ROUTERS.search(info.name):
        return replace(weight, is_router=True)
    return replace(weight, num_experts=info.shape[0]) if len(info.shape) == 3 else weight


def described(spec: ModelSpec, bits: float, group_len: int = 128) -> tuple[Weight, ...]:
    """The weights of a model of that shape: matrices in layers of `bits`, embedding and output dense float16.

    Each group of `group_len` inputs has a float16 scale and a zero of `bits`, as GPTQ and AWQ have; with 0, `bits` are all
    there is (EXL2's are stated so). From 16 bits on everything is dense.
    """
    hidden = spec.hidden_size
    layers = [weight for layer in range(spec.num_layers) for weight in _described_layer(spec, layer, bits, group_len)]
    norms = [_dense("layer", layer, (1, hidden), 16) for layer in range(spec.num_layers) for _ in range(2)]
    table = spec.vocab_size, hidden
    ends = [_dense("embedding", -1, table, 16), *([] if spec.tied else [_dense("output", -1, table, 16)])]
    return (*ends, *layers, *norms, _dense("rest", -1, (1, hidden), 16))


def _described_layer(spec: ModelSpec, layer: int, bits: float, group_len: int) -> Iterator[Weight]:
    hidden, q, kv = spec.hidden_size, spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    mixture = spec.mixture if spec.mixture is not None and spec.mixture.has(layer) else None
    ffn_size = spec.ffn_size if mixture is None else mixture.shared_ffn_size
    shapes = [(q, hidden), (kv, hidden), (kv, hidden), (hidden, q)]
    shapes += [(ffn_size, hidden), (ffn_size, hidden), (hidden, ffn_size)] if ffn_size else []
    for shape in shapes:
        yield _matrix(layer, shape, bits, group_len)
    if mixture is not None:
        num, ffn_size = mixture.num_experts, mixture.ffn_size
        yield replace(_dense("layer", layer, (num, hidden), 16), is_router=True)
        for shape in ((num * ffn_size, hidden), (num * ffn_size, hidden), (num * hidden, ffn_size)):
            yield replace(_matrix(layer, shape, bits, group_len), num_experts=num)


def _matrix(layer: int, shape: tuple[int, int], bits: float, group_len: int) -> Weight:
    return _coded("layer", layer, shape, bits, group_len) if bits < 16 else _dense("layer", layer, shape, bits)


def requantised(weights: Iterable[Weight], bits: float, group_len: int = 64) -> tuple[Weight, ...]:
    """The same model in another quant: matrices in layers as `described` has them, the rest as it is."""
    return tuple(
        replace(_coded("layer", w.layer, (w.num_outputs, w.num_inputs), bits, group_len), num_experts=w.num_experts)
        if w.role == "layer" and not w.is_vector and not w.is_router
        else w
        for w in weights
    )


def bits_per_weight(weights: Iterable[Weight]) -> float:
    """Of the matrices, scales and all, in the file."""
    matrices = [w for w in weights if not w.is_vector]
    return 8 * sum(w.num_bytes for w in matrices) / max(1, sum(w.num_numbers for w in matrices))


def _dense(role: Role, layer: int, shape: tuple[int, int], bits: float) -> Weight:
    return Weight(role, layer, *shape, bits, 0, int(math.prod(shape) * bits / 8), is_dense=True)


def _coded(role: Role, layer: int, shape: tuple[int, int], bits: float, group_len: int) -> Weight:
    num_groups = shape[0] * -(-shape[1] // group_len) if group_len else 0
    num_bytes = (math.prod(shape) * bits + num_groups * (16 + bits)) / 8
    return Weight(role, layer, *shape, bits, group_len, math.ceil(num_bytes))


def _role_of(name: str) -> tuple[Role, int]:
    if match := _LAYER.search(name):
        return "layer", int(match[1])
    module = name.rpartition(".")[0] or name
    last = module.rpartition(".")[2]
    if last in _EMBEDDINGS:
        return "embedding", -1
    return ("output", -1) if last in _OUTPUTS else ("rest", -1)


def _shape_of(info: TensorInfo) -> tuple[int, int]:
    """Outputs and inputs; experts of one tensor lie side by side."""
    if not info.shape:
        return 1, 1
    return math.prod(info.shape[:-1]), info.shape[-1]


def _gguf_weight(info: TensorInfo) -> Weight:
    (num_outputs, num_inputs), (role, layer) = _shape_of(info), _role_of(info.name)
    if info.dtype in _DENSE_BITS:
        return Weight(role, layer, num_outputs, num_inputs, _DENSE_BITS[info.dtype], 0, info.num_bytes, is_dense=True)
    bits, group_len = _GGUF_CODES.get(info.dtype, (0, 0))
    real = 8 * info.num_bytes / max(1, num_outputs * num_inputs)  # codebooks: what a number takes is all that can be said
    half = not info.dtype.endswith("_K")
    return Weight(role, layer, num_outputs, num_inputs, bits or real, group_len, info.num_bytes, has_half_scales=half)


def _folder_weights(tensors: Mapping[str, TensorInfo], settings: Mapping[str, Any]) -> Iterator[Weight]:
    """Modules of a Hugging Face model: the several tensors of a quantised matrix make one weight."""
    root = _root_of(tensors)
    modules: dict[str, dict[str, TensorInfo]] = {}
    for name, info in tensors.items():
        module, _, kind = name.rpartition(".")
        if name.startswith(root) or module.rpartition(".")[2] in _OUTPUTS:
            modules.setdefault(module, {})[kind] = info
    for module, parts in modules.items():
        yield from _module(module, parts, settings)


def _root_of(tensors: Iterable[str]) -> str:
    """What stands before ``embed_tokens``: the language part of a model that also sees has a name of its own."""
    for name in tensors:
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] in _EMBEDDINGS:
            return module.rpartition(".")[0]
    return ""


def _module(module: str, parts: Mapping[str, TensorInfo], settings: Mapping[str, Any]) -> Iterator[Weight]:
    role, layer = _role_of(f"{module}.weight")
    coded = _coded_shape(parts, settings)
    if coded is not None:
        num_bytes = sum(info.num_bytes for kind, info in parts.items() if kind != "bias")
        (num_outputs, num_inputs), bits, group_len = coded
        yield Weight(role, layer, num_outputs, num_inputs, bits, group_len, num_bytes, is_rebuilt="trellis" in parts)
        parts = {kind: info for kind, info in parts.items() if kind == "bias"}
    for info in parts.values():
        num_outputs, num_inputs = _shape_of(info) if len(info.shape) > 1 else (1, math.prod(info.shape))
        bits = _DENSE_BITS.get(info.dtype, 8 * info.num_bytes / max(1, num_outputs * num_inputs))
        yield _placed(Weight(role, layer, num_outputs, num_inputs, bits, 0, info.num_bytes, is_dense=True), info)


def _coded_shape(parts: Mapping[str, TensorInfo], settings: Mapping[str, Any]) -> tuple[tuple[int, int], float, int] | None:
    """Outputs and inputs, bits and inputs per group of a quantised module; None for a plain one."""
    shapes = {kind: info.shape for kind, info in parts.items()}
    try:
        if "trellis" in shapes:  # EXL3: tiles of 16 by 16
            rows, columns, words = shapes["trellis"]
            return (columns * 16, rows * 16), words / 16, 0
        if "q_weight" in shapes:  # EXL2: groups of several widths
            words, num_outputs = shapes["q_weight"]
            num_inputs = (shapes.get("q_invperm") or shapes["q_perm"])[0]
            return (num_outputs, num_inputs), 32 * words / num_inputs, max(1, 2 * num_inputs // shapes["q_groups"][0])
        if "qweight" in shapes:
            return _packed_shape(shapes)
        if "weight_packed" in shapes:
            num_outputs, words = shapes["weight_packed"]
            bits = _stated_bits(settings)
            num_inputs = words * 32 // bits
            return (num_outputs, num_inputs), bits, max(1, num_inputs // max(1, shapes["weight_scale"][-1]))
    except (KeyError, ValueError, IndexError, ZeroDivisionError):  # not what the name says: count its bytes as they are
        return None
    return None


def _packed_shape(shapes: Mapping[str, tuple[int, ...]]) -> tuple[tuple[int, int], float, int]:
    """GPTQ packs along the inputs, AWQ along the outputs; the scales tell them apart."""
    rows, columns = shapes["qweight"]
    num_groups, num_outputs = shapes["scales"]
    if columns * 8 == num_outputs and "g_idx" not in shapes:
        return (num_outputs, rows), 4, max(1, rows // num_groups)
    bits = 32 * shapes["qzeros"][1] / num_outputs
    num_inputs = int(rows * 32 / bits)
    return (num_outputs, num_inputs), bits, max(1, num_inputs // num_groups)


def _stated_bits(settings: Mapping[str, Any]) -> int:
    """compressed-tensors says its width in the settings only; without them it is 4."""
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        bits = weights.get("num_bits") if isinstance(weights, Mapping) else None
        if bits in (4, 8):
            return int(bits)
    return 4
