"""GGUF headers as llama.cpp's converter writes them for published models, and hostile ones."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import ModelFileError
from publican.core.model import Mixture, ModelSpec, Rope, RopeScaling, TensorInfo
from publican.store.checkpoint import open_checkpoint
from publican.store.spec_gguf import spec_from_gguf

PLAIN: dict[str, Any] = {
    "block_count": 4, "context_length": 8192, "embedding_length": 512, "feed_forward_length": 1024, "attention.head_count": 8,
    "attention.head_count_kv": 2, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0,
}  # fmt: skip


def header(architecture: str = "llama", **changes: Any) -> dict[str, Any]:
    keys = PLAIN | {k.replace("__", "."): v for k, v in changes.items()}
    found = {f"{architecture}.{key}": value for key, value in keys.items() if value is not None}
    return {"general.architecture": architecture} | found


def tensors(*names: str, hidden_size: int = 512) -> dict[str, TensorInfo]:
    shapes = {"token_embd.weight": (1000, hidden_size)} | dict.fromkeys(names, (32,))
    return {name: TensorInfo(name, "F32", shape, Path("x"), 0, 0) for name, shape in shapes.items()}


def spec(metadata: dict[str, Any], *names: str) -> ModelSpec:
    found = spec_from_gguf(metadata, tensors(*names))
    assert found is not None
    return found


def test_the_default_model(default_model: Path) -> None:
    found = open_checkpoint(default_model).spec
    assert found is not None
    assert (found.architecture, found.num_layers, found.hidden_size, found.ffn_size) == ("llama", 30, 576, 1536)
    assert (found.num_heads, found.num_kv_heads, found.head_dim, found.vocab_size) == (9, 3, 64, 49152)
    assert (found.context_len, found.rope, found.tied) == (8192, Rope(100_000.0, 64), True)
    assert found.norm_eps == pytest.approx(1e-5)


def test_llama() -> None:
    found = spec(header(), "output.weight")
    assert (found.head_dim, found.vocab_size, found.tied, found.sliding_window) == (64, 1000, False, 0)
    assert found.rope == Rope(10_000.0, 64)
    assert spec(header(attention__key_length=96, attention__value_length=96)).head_dim == 96
    assert spec(header(attention__head_count_kv=None)).num_kv_heads == 8
    assert spec(header(attention__head_count_kv=[2, 2, 2, 2])).num_kv_heads == 2


def test_scalings() -> None:
    linear = header(rope__scaling__type="linear", rope__scaling__factor=4.0)
    assert spec(linear).rope.scaling == RopeScaling("linear", 4.0, original_context_len=8192)
    assert spec(header(rope__scale_linear=4.0)).rope.scaling.kind == "linear"  # as files were in 2023
    assert spec(header(rope__scaling__type="none", rope__scaling__factor=4.0)).rope.scaling.kind == "none"
    yarn = header(rope__scaling__type="yarn", rope__scaling__factor=4.0, rope__scaling__original_context_length=2048)
    assert spec(yarn).rope.scaling == RopeScaling("yarn", 4.0, original_context_len=2048)
    with_factor = spec(yarn | {"llama.rope.scaling.attn_factor": 0.5}).rope.scaling
    assert with_factor.attention_factor == pytest.approx(0.5 * (1 + 0.1 * math.log(4)))


def test_longrope_is_known_by_its_tensors() -> None:
    metadata = header(
        "phi3", rope__scaling__original_context_length=4096, rope__scaling__attn_factor=1.19, rope__dimension_count=48
    )
    found = spec(metadata, "rope_factors_long.weight", "rope_factors_short.weight").rope
    assert found == Rope(10_000.0, 48, RopeScaling("longrope", 2.0, original_context_len=4096, attention_factor=1.19))


def test_what_llama_cpp_has_in_its_code() -> None:
    gemma2 = spec(header("gemma2", attention__key_length=256, attention__value_length=256))
    assert (gemma2.sliding_window, gemma2.windowed) == (4096, (True, False, True, False))
    assert (gemma2.attention_softcap, gemma2.final_softcap) == (50.0, 30.0)
    assert (gemma2.embedding_scale, gemma2.attention_scale) == (math.sqrt(512), 0.0)
    gemma3 = spec(header("gemma3", block_count=7, attention__sliding_window=1024))
    assert gemma3.windowed == (True,) * 5 + (False, True)
    assert gemma3.local_rope == Rope(10_000.0, 64)
    assert spec(header("smollm3", block_count=8)).rotated == (True, True, True, False) * 2
    large = spec(header("gemma2", block_count=46, attention__key_length=128, attention__value_length=128))
    assert large.attention_scale == pytest.approx(64**-0.5)


def test_mixtral_calls_itself_a_llama() -> None:
    found = spec(header(expert_count=8, expert_used_count=2))
    assert (found.architecture, found.mixture) == ("mixtral", Mixture(8, 2, 1024))
    assert spec(header(expert_count=0)).architecture == "llama"


def test_qwen_with_experts() -> None:
    keys = {"expert_count": 128, "expert_used_count": 8, "expert_feed_forward_length": 768}
    routers = [f"blk.{layer}.ffn_gate_inp.weight" for layer in range(4)]
    found = spec(header("qwen3moe", attention__key_length=128, attention__value_length=128, **keys), *routers)
    assert (found.architecture, found.mixture, found.head_dim) == ("qwen3moe", Mixture(128, 8, 768), 128)
    assert spec(header("qwen3moe", **keys), *routers[1:]).mixture == Mixture(128, 8, 768, layers=(False, True, True, True))
    plain = Mixture(128, 8, 768, norm_topk_prob=False)
    assert spec(header("qwen3moe", expert_weights_norm=False, **keys), *routers).mixture == plain
    shared = header("qwen2moe", expert_shared_feed_forward_length=96, **keys)
    assert spec(shared, *routers).mixture == dataclasses.replace(plain, shared_ffn_size=96)


def test_a_qwen_of_march_2024_shows_its_widths() -> None:
    metadata = header("qwen2moe", expert_count=60, expert_used_count=4)
    shapes = {"blk.0.ffn_gate_exps.weight": (60, 40, 512), "blk.0.ffn_gate_shexp.weight": (160, 512)}
    seen = tensors() | {name: TensorInfo(name, "F32", shape, Path("x"), 0, 0) for name, shape in shapes.items()}
    found = spec_from_gguf(metadata, seen)
    assert found is not None
    assert found.mixture == Mixture(60, 4, 40, shared_ffn_size=160, norm_topk_prob=False)
    with pytest.raises(ModelFileError, match="expert_feed_forward_length"):
        spec_from_gguf(metadata, tensors())


@pytest.mark.parametrize(
    "change",
    [
        {"expert_count": 4, "expert_used_count": 5}, {"expert_used_count": 0}, {"expert_used_count": None},
        {"expert_count": -1}, {"expert_count": 2**31}, {"expert_count": "8"}, {"expert_gating_func": "softmax"},
        {"expert_weights_scale": math.nan},
    ],
)  # fmt: skip
def test_hostile_mixtures_are_one_sentence(change: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError) as caught:
        spec_from_gguf(header(**({"expert_count": 8, "expert_used_count": 2} | change)), tensors())
    assert len(str(caught.value)) < 400


def test_granite_multiplies() -> None:
    found = spec(header("granite", embedding_scale=12.0, residual_scale=0.22, attention__scale=0.0078125, logit_scale=16.0))
    assert (found.embedding_scale, found.residual_scale, found.attention_scale) == (12.0, 0.22, 0.0078125)
    assert found.logit_scale == 1 / 16


@pytest.mark.parametrize(
    "metadata",
    [
        {"general.architecture": "mamba"},
        {},
        header("granite", expert_count=8, expert_used_count=2),
        header(expert_count=8, expert_used_count=2, expert_gating_func=2),
        header(expert_count=8, expert_used_count=2, expert_weights_scale=2.5),
        header(expert_count=8, expert_used_count=2, expert_group_count=4),
        header(attention__key_length=96, attention__value_length=64),
        header(attention__head_count_kv=[2, 4, 2, 4]),
        header(rope__scaling__type="unheard of"),
    ],
)
def test_what_it_has_no_words_for_is_none(metadata: dict[str, Any]) -> None:
    assert spec_from_gguf(metadata, tensors()) is None


@pytest.mark.parametrize(
    "change",
    [
        {"block_count": 0}, {"block_count": 2**31}, {"block_count": "4"}, {"block_count": None}, {"block_count": True},
        {"embedding_length": 511}, {"embedding_length": -512}, {"attention__head_count": 0}, {"attention__head_count_kv": 3},
        {"attention__layer_norm_rms_epsilon": math.nan}, {"attention__layer_norm_rms_epsilon": None}, {"rope__freq_base": 0.0},
        {"rope__freq_base": math.inf}, {"rope__dimension_count": 63}, {"rope__dimension_count": 66}, {"context_length": 2**40},
        {"rope__scaling__type": 7}, {"rope__scaling__factor": -1.0, "rope__scaling__type": "linear"}, {"logit_scale": 0.0},
        {"attention__sliding_window": -1}, {"attention__key_length": 2**20, "attention__value_length": 2**20},
        {"attention__head_count_kv": []}, {"embedding_scale": math.nan},
    ],
)  # fmt: skip
def test_hostile_values_are_one_sentence(change: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError) as caught:
        spec_from_gguf(header(**change), tensors())
    assert len(str(caught.value)) < 400


def test_a_model_without_embedding_is_incomplete() -> None:
    with pytest.raises(ModelFileError, match="embeddings"):
        spec_from_gguf(header(), {})


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=4)


@given(
    st.dictionaries(st.sampled_from(sorted(PLAIN)), VALUES), st.sampled_from(["llama", "gemma3", "phi3", "smollm3", "granite"])
)
def test_anything_at_all_is_a_spec_or_none_or_a_sentence(values: dict[str, Any], architecture: str) -> None:
    metadata = header(architecture) | {f"{architecture}.{key}": value for key, value in values.items()}
    try:
        found = spec_from_gguf(metadata, tensors("rope_factors_long.weight"))
    except ModelFileError:
        return
    assert found is None or found.num_layers > 0
