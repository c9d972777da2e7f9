"""What weights are, from headers of every container: shapes as each format packs them, made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from publican.core.model import Checkpoint, TensorInfo
from publican.hardware.shapes import SHAPES
from publican.hardware.weights import Weight, bits_per_weight, described, requantised, weights_of
from publican.store.checkpoint import open_checkpoint

SIZES = {"F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "F8_E4M3": 1}
K, N = 512, 256
"""Inputs and outputs of every matrix here."""


def info(name: str, dtype: str, *shape: int, num_bytes: int | None = None) -> TensorInfo:
    size = math.prod(shape) * SIZES[dtype] if num_bytes is None else num_bytes
    return TensorInfo(name, dtype, shape, Path("model"), 0, size)


def folder(*tensors: TensorInfo, **settings) -> tuple[Weight, ...]:
    ends = info("model.embed_tokens.weight", "F16", 1000, K), info("lm_head.weight", "F16", 1000, K)
    everything = {tensor.name: tensor for tensor in (*ends, *tensors)}
    return weights_of(Checkpoint("m", Path("m"), "safetensors", None, everything, {}, settings))


def layer(weights: tuple[Weight, ...]) -> Weight:
    (found,) = [w for w in weights if w.role == "layer" and not w.is_vector]
    return found


P = "model.layers.3.mlp.up_proj"


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq(bits):
    w = layer(
        folder(
            info(f"{P}.qweight", "I32", K * bits // 32, N),
            info(f"{P}.qzeros", "I32", K // 128, N * bits // 32),
            info(f"{P}.scales", "F16", K // 128, N),
            info(f"{P}.g_idx", "I32", K),
            info(f"{P}.bias", "F16", N),
        )
    )
    assert (w.layer, w.num_outputs, w.num_inputs, w.bits, w.group_len) == (3, N, K, bits, 128)
    assert w.num_bytes == K * N * bits // 8 + K // 128 * N * (bits + 16) // 8 + 4 * K


def test_awq():
    w = layer(
        folder(
            info(f"{P}.qweight", "I32", K, N // 8),
            info(f"{P}.qzeros", "I32", K // 64, N // 8),
            info(f"{P}.scales", "F16", K // 64, N),
        )
    )
    assert (w.num_outputs, w.num_inputs, w.bits, w.group_len) == (N, K, 4, 64)


def test_exl2():
    """Half of the inputs with 5 bits, half with 4; eight groups."""
    words = K // 2 * 5 // 32 + K // 2 * 4 // 32
    w = layer(
        folder(
            info(f"{P}.q_weight", "I32", words, N),
            info(f"{P}.q_scale", "I32", 8, N // 8),
            info(f"{P}.q_scale_max", "F16", 8),
            info(f"{P}.q_groups", "I16", 16),
            info(f"{P}.q_invperm", "I32", K),
        )
    )
    assert (w.num_outputs, w.num_inputs, w.bits, w.group_len) == (N, K, 4.5, 64)


def test_exl3_is_rebuilt():
    w = layer(folder(info(f"{P}.trellis", "I16", K // 16, N // 16, 48), info(f"{P}.suh", "F16", K), info(f"{P}.svh", "F16", N)))
    assert (w.num_outputs, w.num_inputs, w.bits, w.is_rebuilt) == (N, K, 3, True)


def test_compressed_tensors():
    packed = info(f"{P}.weight_packed", "I32", N, K * 8 // 32), info(f"{P}.weight_scale", "BF16", N, K // 32)
    settings = {"config_groups": {"group_0": {"weights": {"num_bits": 8}}}}
    w = layer(folder(*packed, **settings))
    assert (w.num_outputs, w.num_inputs, w.bits, w.group_len) == (N, K, 8, 32)
    assert layer(folder(*packed)).bits == 4  # nobody said


def test_dense_and_what_else_there_is():
    weights = folder(
        info(f"{P}.weight", "BF16", N, K),
        info("model.layers.3.input_layernorm.weight", "BF16", K),
        info("model.norm.weight", "BF16", K),
    )
    w = layer(weights)
    assert (w.num_outputs, w.num_inputs, w.bits, w.is_dense) == (N, K, 16, True)
    assert sorted(w.role for w in weights) == ["embedding", "layer", "layer", "output", "rest"]
    assert bits_per_weight(weights) == 16


def test_eyes_are_left_out():
    weights = weights_of(
        Checkpoint(
            "m",
            Path("m"),
            "safetensors",
            None,
            {
                t.name: t
                for t in (
                    info("language_model.model.embed_tokens.weight", "F16", 1000, K),
                    info("language_model.lm_head.weight", "F16", 1000, K),
                    info("language_model.model.layers.0.mlp.up_proj.weight", "F16", N, K),
                    info("vision_tower.layers.0.mlp.up_proj.weight", "F16", N, K),
                )
            },
        )
    )
    assert len(weights) == 3


@pytest.mark.parametrize(
    "broken",
    [
        (info(f"{P}.qweight", "I32", 4),),
        (info(f"{P}.qweight", "I32", 4, 4), info(f"{P}.scales", "F16", 0, 0), info(f"{P}.qzeros", "I32", 0, 0)),
        (info(f"{P}.trellis", "I16", 4),),
        (info(f"{P}.q_weight", "I32", 4, 4),),
        (info(f"{P}.weight_packed", "I32", 4, 4),),
        (info(f"{P}.weight", "F16"),),
    ],
)
def test_headers_that_are_not_what_they_say_are_counted_as_they_are(broken):
    assert sum(w.num_bytes for w in folder(*broken)) == 2 * 2 * 1000 * K + sum(t.num_bytes for t in broken)


def test_the_default_model(default_model: Path):
    checkpoint = open_checkpoint(default_model)
    weights = weights_of(checkpoint)
    assert sum(w.num_bytes for w in weights) == checkpoint.num_bytes
    assert sum(w.num_numbers for w in weights) == pytest.approx(134.5e6, rel=0.001)
    assert {(w.bits, w.group_len) for w in weights if w.role == "layer" and not w.is_vector} == {(4, 32)}
    assert 5.0 < bits_per_weight(weights) < 5.9
    assert {w.layer for w in weights if w.role == "layer"} == set(range(30))


@pytest.mark.parametrize("dtype", ["Q4_0", "Q6_K", "IQ2_XXS", "F16"])
def test_gguf_types(dtype):
    tensors = {"blk.1.ffn_up.weight": info("blk.1.ffn_up.weight", dtype, N, K, num_bytes=1000)}
    (w,) = weights_of(Checkpoint("m", Path("m"), "gguf", None, tensors))
    assert (w.layer, w.num_outputs, w.num_inputs, w.num_bytes) == (1, N, K, 1000)
    assert 0 < w.bits <= 16


def test_described_and_quantised_anew():
    spec = SHAPES["llama-2-7b"]
    weights = described(spec, 4, 128)
    assert bits_per_weight(w for w in weights if w.role == "layer") == pytest.approx(4.15625)
    assert bits_per_weight(w for w in requantised(weights, 2, 64) if w.role == "layer") == pytest.approx(2 + 18 / 64)
    assert bits_per_weight(w for w in described(spec, 4.65, 0) if w.role == "layer") == pytest.approx(4.65)
    assert sum(w.num_numbers for w in described(spec, 16)) == 6_738_415_616


def test_experts_of_one_tensor_and_of_many_are_the_same():
    """Four experts: 4 × 24 outputs side by side, or 4 times 24, and a router that stays as it is."""
    stack = info("blk.2.ffn_gate_exps.weight", "Q8_0", 4, 24, 64, num_bytes=4 * 24 * 2 * 34)
    router = info("blk.2.ffn_gate_inp.weight", "F32", 4, 64)
    found = weights_of(Checkpoint("m", Path("m"), "gguf", None, {t.name: t for t in (stack, router)}))
    assert found[0] == Weight("layer", 2, 96, 64, 8, 32, 4 * 24 * 2 * 34, has_half_scales=True, num_experts=4)
    assert (found[1].is_router, found[1].num_bytes) == (True, 1024)
    module = "model.layers.2.block_sparse_moe"
    (one,) = [w for w in folder(info(f"{module}.experts.3.w1.weight", "BF16", 24, 64)) if w.role == "layer"]
    assert (one.num_outputs, one.num_inputs, one.num_experts, one.is_router) == (24, 64, 1, False)
    (all_,) = [w for w in folder(info("model.layers.2.mlp.experts.gate_up_proj", "BF16", 4, 48, 64)) if w.role == "layer"]
    assert (all_.num_outputs, all_.num_inputs, all_.num_experts) == (192, 64, 4)
    (gate,) = [w for w in folder(info(f"{module}.gate.weight", "BF16", 4, 64)) if w.role == "layer"]
    assert gate.is_router


def test_published_mixtures():
    """Parameters as their makers count them; a router is not quantised with the rest."""
    for name, num_parameters in (("mixtral-8x7b", 46_702_792_704), ("qwen3-30b-a3b", 30_532_122_624)):
        weights = described(SHAPES[name], 16)
        heads = 2 * 48 * 128 if name.startswith("qwen3") else 0  # the norms of queries and keys are left out
        assert sum(w.num_numbers for w in weights) == num_parameters - heads
        coded = requantised(weights, 4, 128)
        assert sum(w.num_numbers for w in coded) == num_parameters - heads
        assert all(w.is_dense for w in coded if w.is_router)
