"""Models of published shapes with random weights in a format's own packing, so that speed needs no download.

One layer's weights are made, packed as a file would have them, and read by the reader that files go through; the other
layers are copies of them in memory of their own, so that as many bytes move as in the real model. Imports NumPy and torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from publican.core.errors import SettingsError
from publican.core.model import ModelSpec, Rope, TensorInfo
from publican.executors.native.cuda.lowering import Lowered, Stage, lower_program
from publican.executors.native.cuda.packing import DenseWeight, PackedMatrix, Packer, Weight
from publican.executors.native.cuda.placement import Placement
from publican.executors.native.cuda.steps import Instruction, Normalise, ProjectAdd
from publican.executors.native.formats.awq import AWQ
from publican.executors.native.formats.exl2 import EXL2
from publican.executors.native.formats.gptq import GPTQ
from publican.executors.native.layout import DenseMatrix, Matrix, stack
from publican.executors.native.program import Attend, Embed, GatedLinear, Linear, Logits, Norm, Op, Program, StoreKV
from publican.executors.native.rope import rope_table
from publican.executors.native.tensors import MappedTensors
from publican.hardware.shapes import SHAPES

_TINY = ModelSpec("llama", 3, 128, 320, 4, 2, 32, 500, 512, 1e-5, Rope(1e4, 32))
_ALIASES = {
    "llama2-7b": "llama-2-7b",
    "llama2-13b": "llama-2-13b",
    "llama2-33b": "llama-1-33b",
    "llama2-70b": "llama-2-70b",
}
FORMATS = "bf16, gptq-BITS-GROUP (gptq-4-128, gptq-3-128-act, gptq-8-row), awq-4-128, exl2-BITS (exl2-4, exl2-2.5)"


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How weights are kept.

    Attributes:
        kind: ``bf16``, ``gptq``, ``awq`` or ``exl2``.
        bits: on average, for exl2.
        group_len: inputs per group; 0 is all of them.
        has_order: GPTQ's act-order.
    """

    kind: str
    bits: float = 16
    group_len: int = 0
    has_order: bool = False


def parse_format(text: str) -> WeightFormat:
    """Raises SettingsError with the formats there are."""
    kind, *rest = text.strip().lower().split("-")
    try:
        match kind, rest:
            case "bf16", []:
                return WeightFormat("bf16")
            case "gptq", [bits, group, *act] if act in ([], ["act"]) and int(bits) in (2, 3, 4, 8):
                return WeightFormat("gptq", int(bits), 0 if group == "row" else int(group), bool(act))
            case "awq", ["4", group]:
                return WeightFormat("awq", 4, int(group))
            case "exl2", [bits] if 2 <= float(bits) <= 8:
                return WeightFormat("exl2", float(bits), 128)
    except ValueError:
        pass
    raise SettingsError(f"There is no format {text!r}; there are {FORMATS}.")


def shape_named(name: str) -> ModelSpec:
    """Raises SettingsError with the shapes there are."""
    if name == "tiny":
        return _TINY
    dense = {known: spec for known, spec in SHAPES.items() if spec.mixture is None}  # random experts are nobody's choice
    spec = dense.get(_ALIASES.get(name, name))
    if spec is None:
        raise SettingsError(f"There is no shape {name!r}; there are {', '.join([*_ALIASES, *dense, 'tiny'])}.")
    return spec


class _Stored(MappedTensors):
    """Tensors that no file has."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        names = {"i4": "I32", "i2": "I16", "f2": "F16"}
        super().__init__(
            {
                name: TensorInfo(name, names[array.dtype.str[1:]], array.shape, _NOWHERE, 0, array.nbytes)
                for name, array in arrays.items()
            }
        )
        self._arrays = arrays

    def array(self, name: str, *kinds: str) -> NDArray[Any]:
        return self._arrays[name]

    def floats(self, name: str) -> NDArray[np.float32]:
        return self._arrays[name].astype(np.float32)


_NOWHERE: Any = None


def random_matrix(rng: np.random.Generator, shape: tuple[int, int], how: WeightFormat) -> Matrix:
    """A weight [outputs, inputs], about as large as a trained one's, in a format's packing and out of it again."""
    num_outputs, num_inputs = shape
    size = num_inputs**-0.5
    if how.kind == "bf16":
        values = (rng.standard_normal(shape, dtype=np.float32) * np.float32(size)).view(np.uint32)
        return DenseMatrix((values >> 16).astype(np.uint16))
    if how.kind == "exl2":
        return EXL2.read(_Stored(_exl2(rng, shape, how.bits, size)), "w", {}, shape)
    bits, group_len = int(how.bits), how.group_len or num_inputs
    num_groups = -(-num_inputs // group_len)
    scales = rng.uniform(0.5, 1.5, (num_groups, num_outputs)) * size * 3.5 / 2**bits
    arrays: dict[str, NDArray[Any]] = {"w.scales": scales.astype(np.float16)}
    if how.kind == "awq":
        arrays |= {
            "w.qweight": _words(rng, num_inputs, num_outputs // 8),
            "w.qzeros": _words(rng, num_groups, num_outputs // 8),
        }
        return AWQ.read(_Stored(arrays), "w", {"group_size": group_len}, shape)
    arrays["w.qweight"] = _words(rng, num_inputs * bits // 32, num_outputs)
    arrays["w.qzeros"] = _words(rng, num_groups, num_outputs * bits // 32)
    if how.has_order:
        groups = np.arange(num_inputs, dtype=np.int32) // group_len
        arrays["w.g_idx"] = np.random.default_rng(0).permutation(groups)  # q, k and v share theirs, as in real files
    return GPTQ.read(_Stored(arrays), "w", {"group_size": group_len}, shape)


def _words(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.int32]:
    return rng.integers(-(2**31), 2**31, (rows, columns), dtype=np.int32)


def _exl2(rng: np.random.Generator, shape: tuple[int, int], bits: float, size: float) -> dict[str, NDArray[Any]]:
    """Two neighbouring widths, the wider one first, mixed for the average that was asked for."""
    num_outputs, num_inputs = shape
    low = max(width for width in (2, 3, 4, 5, 6, 8) if width <= bits)
    high = min((width for width in (3, 4, 5, 6, 8) if width > bits), default=8)
    num_groups = -(-num_inputs // 128)
    num_wide = round(num_groups * (bits - low) / (high - low)) if high > low else 0
    widths = [high] * num_wide + [low] * (num_groups - num_wide)
    lengths = [min(128, num_inputs - 128 * i) for i in range(num_groups)]
    words = [width * length // 32 for width, length in zip(widths, lengths, strict=True)]
    firsts = np.cumsum([0, *words[:-1]])
    columns = -(-num_outputs // 32) * 32
    return {
        "w.q_weight": _words(rng, sum(words), columns),
        "w.q_scale": _words(rng, num_groups, columns // 8),
        "w.q_scale_max": np.array([size * 3.5 / 2**width * 256 / 80 for width in widths], np.float16),
        "w.q_groups": np.stack([np.array(widths), firsts], 1).astype(np.uint16).view(np.int16).reshape(-1),
        "w.q_invperm": np.random.default_rng(0).permutation(num_inputs).astype(np.int32),
    }


def random_program(spec: ModelSpec, how: WeightFormat, context_len: int, seed: int = 0) -> Program:
    """A program of one layer, to be lowered by `lower_repeated`; `num_layers` is the whole model's."""
    q, kv = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    widths = {"x": spec.hidden_size, "normed": spec.hidden_size, "qkv": q + 2 * kv, "attended": q, "ffn": spec.ffn_size}
    return Program(
        ops=_Layer(spec, how, seed),
        buffers=widths,
        ropes=(rope_table(spec.rope, context_len),),
        num_layers=spec.num_layers,
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        hidden_size=spec.hidden_size,
        vocab_size=spec.vocab_size,
        context_len=context_len,
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    """The operations of a model of one layer, made as they are asked for."""

    spec: ModelSpec
    how: WeightFormat
    seed: int

    def __iter__(self) -> Iterator[Op]:
        spec, rng = self.spec, np.random.default_rng(self.seed)
        q, kv, hidden, ffn = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim, spec.hidden_size, spec.ffn_size

        def weight(outputs: int, inputs: int) -> Matrix:
            return random_matrix(rng, (outputs, inputs), self.how)

        def table() -> Matrix:
            return random_matrix(rng, (spec.vocab_size, hidden), WeightFormat("bf16"))

        ones = np.ones(hidden, np.float32)
        yield Embed("x", table(), hidden**0.5)
        yield Norm("x", "normed", ones, spec.norm_eps)
        parts = [weight(outputs, hidden) for outputs in (q, kv, kv)]
        stacked = stack(parts)
        assert stacked is not None
        yield Linear("normed", "qkv", stacked)
        yield StoreKV("qkv", 0, 0)
        yield Attend("qkv", "attended", 0, spec.head_dim**-0.5)
        yield Linear("attended", "x", weight(hidden, q), add=True)
        yield Norm("x", "normed", ones, spec.norm_eps)
        yield GatedLinear("normed", "ffn", weight(ffn, hidden), weight(ffn, hidden))
        yield Linear("ffn", "x", weight(hidden, ffn), add=True)
        yield Logits("x", ones, spec.norm_eps, table())


def lower_repeated(program: Program, packers: list[Packer], placement: Placement, dtype: torch.dtype) -> Lowered:
    """The instructions of the whole model: those of the layer as often as there are layers, each with weights of its own."""
    lowered = lower_program(program, packers, placement, dtype)
    (stage,) = lowered.stages
    embed, first, *layer, output = stage.instructions
    last = layer[-1]
    assert isinstance(first, Normalise)
    assert isinstance(last, ProjectAdd)
    instructions: list[Instruction] = [embed, first]
    for number in range(program.num_layers):
        copies = [_copied(each, number, packers[0]) for each in layer]
        if number + 1 < program.num_layers:  # as the next layer's norm would have joined it
            copies[-1] = dataclasses.replace(last, weight=copies[-1].weight, norm=first.norm)
        instructions += copies
    whole = Stage(0, [*instructions, output], list(range(program.num_layers)))
    return Lowered((whole,), lowered.buffers, lowered.residuals)


def _copied(instruction: Any, layer: int, packer: Packer) -> Any:
    changes: dict[str, Any] = {}
    if hasattr(instruction, "layer"):
        changes["layer"] = layer
    if layer and hasattr(instruction, "weight"):
        changes["weight"] = copied_weight(instruction.weight)
        packer.num_bytes += changes["weight"].num_bytes
    return dataclasses.replace(instruction, **changes) if changes else instruction


def copied_weight(weight: Weight) -> Weight:
    """The same numbers in other memory."""
    if isinstance(weight, DenseWeight):
        return DenseWeight(weight.values.clone())
    segments = []
    for each in weight.segments:
        low = each.low.clone()
        high = each.high.clone() if each.high_bits else low
        segments.append(dataclasses.replace(each, low=low, high=high, scales=each.scales.clone(), offsets=each.offsets.clone()))
    return PackedMatrix(tuple(segments), weight.order, weight.num_outputs, weight.num_inputs)


def num_parameters(spec: ModelSpec) -> int:
    """Of all matrices that a token is multiplied by: everything but the embedding."""
    q, kv = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    layer = spec.hidden_size * (2 * q + 2 * kv + 3 * spec.ffn_size)
    return spec.num_layers * layer + spec.vocab_size * spec.hidden_size


def rough_weight_bytes(spec: ModelSpec, how: WeightFormat) -> int:
    """About what all weights take on a device, before they are there."""
    tables = 2 * spec.vocab_size * spec.hidden_size
    per_weight = how.bits / 8 + (4 / how.group_len if how.group_len else 0)
    return math.ceil((num_parameters(spec) - tables // 2) * per_weight + 2 * tables)
