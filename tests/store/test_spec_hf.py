"""Configurations of published models, in the words of transformers 4 and 5, and hostile ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import ModelFileError
from publican.core.model import Mixture, ModelSpec, Rope, RopeScaling, TensorInfo
from publican.store.spec_hf import spec_from_hf

LLAMA2: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu", "vocab_size": 32000,
    "tie_word_embeddings": False, "rope_scaling": None,
}  # fmt: skip


def tensors(config: dict[str, Any], *, output: bool = True, root: str = "model.") -> dict[str, TensorInfo]:
    inner = config.get("text_config", config)
    shape = inner.get("vocab_size", 100), inner.get("hidden_size", 64)
    names = [f"{root}embed_tokens.weight"] + (["lm_head.weight"] if output else [])
    return {name: TensorInfo(name, "BF16", shape, Path("x"), 0, 0) for name in names}


def spec(config: dict[str, Any], **options: Any) -> ModelSpec:
    found = spec_from_hf(config, tensors(config, **options))
    assert found is not None
    return found


def test_llama_2() -> None:
    found = spec(LLAMA2)
    assert (found.architecture, found.num_layers, found.head_dim, found.ffn_size) == ("llama", 32, 128, 11008)
    assert (found.vocab_size, found.context_len, found.norm_eps) == (32000, 4096, 1e-5)
    assert found.rope == Rope(10_000.0, 128)
    assert not found.tied
    assert found.sliding_window == 0


def test_llama_1_has_no_key_value_heads_of_its_own() -> None:
    config = {k: v for k, v in LLAMA2.items() if k != "num_key_value_heads"}
    assert spec(config).num_kv_heads == 32


def test_llama_3_2_is_tied_and_scaled() -> None:
    scaling = {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    config = LLAMA2 | {
        "rope_theta": 500000.0, "rope_scaling": scaling, "head_dim": 64, "num_key_value_heads": 8, "tie_word_embeddings": True,
    }  # fmt: skip
    found = spec(config, output=False)
    assert found.tied
    assert found.rope == Rope(500_000.0, 64, RopeScaling("llama3", 32.0, original_context_len=8192))
    assert found == spec(
        config | {"rope_theta": None, "rope_scaling": None, "rope_parameters": scaling | {"rope_theta": 500000.0}}, output=False
    )


def test_no_output_means_tied_whatever_is_said() -> None:
    assert spec(LLAMA2, output=False).tied
    quantised = tensors(LLAMA2, output=False)
    for name in ("lm_head.qweight", "lm_head.q_weight", "lm_head.trellis"):
        quantised_too = quantised | {name: TensorInfo(name, "I32", (8, 8), Path("x"), 0, 0)}
        found = spec_from_hf(LLAMA2, quantised_too)
        assert found is not None
        assert not found.tied


def test_mistral_has_its_window_in_every_layer() -> None:
    config = LLAMA2 | {
        "model_type": "mistral",
        "sliding_window": 4096,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
    }
    assert (spec(config).sliding_window, spec(config).windowed) == (4096, ())
    assert spec(config | {"sliding_window": None}).sliding_window == 0
    assert spec(config).architecture == "llama"
    assert spec(LLAMA2 | {"sliding_window": 4096}).sliding_window == 0  # a Llama's does not count


def test_qwen_2_has_windows_only_where_it_says_so() -> None:
    config = LLAMA2 | {
        "model_type": "qwen2", "sliding_window": 1000, "use_sliding_window": False, "max_window_layers": 28, "rope_theta": 1e6,
    }  # fmt: skip
    assert spec(config).sliding_window == 0
    found = spec(config | {"use_sliding_window": True})
    assert found.sliding_window == 1000
    assert found.windowed == (False,) * 28 + (True,) * 4
    assert spec(config | {"use_sliding_window": True, "max_window_layers": 32}).sliding_window == 0


def test_gemma_2() -> None:
    config = LLAMA2 | {
        "model_type": "gemma2", "head_dim": 256, "hidden_size": 3584, "num_attention_heads": 16, "num_key_value_heads": 8,
        "hidden_act": "gelu_pytorch_tanh", "query_pre_attn_scalar": 224, "sliding_window": 4096, "num_hidden_layers": 4,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "tie_word_embeddings": None,
    }  # fmt: skip
    found = spec(config, output=False)
    assert found.tied
    assert found.attention_scale == pytest.approx(224**-0.5)
    assert (found.attention_softcap, found.final_softcap) == (50.0, 30.0)
    assert found.embedding_scale == math.sqrt(3584)
    assert found.windowed == (True, False, True, False)
    silent = {k: v for k, v in config.items() if "softcapping" not in k}
    assert spec(silent).attention_softcap == 50.0
    assert spec(config | {"attn_logit_softcapping": None}).attention_softcap == 0.0


def test_gemma_3_has_two_ropes_and_may_see() -> None:
    text = LLAMA2 | {
        "model_type": "gemma3_text", "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_act": None,
        "sliding_window": 1024, "sliding_window_pattern": 6, "num_hidden_layers": 12, "rope_theta": 1e6,
        "rope_local_base_freq": 1e4, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "vocab_size": 262208,
    }  # fmt: skip
    config = {"model_type": "gemma3", "text_config": text, "vision_config": {}}
    found = spec(config, root="language_model.model.")
    assert found.windowed == ((True,) * 5 + (False,)) * 2
    assert found.rope == Rope(1e6, 256, RopeScaling("linear", 8.0, original_context_len=4096))
    assert found.local_rope == Rope(1e4, 256)
    assert (found.attention_softcap, found.final_softcap) == (0.0, 0.0)


def test_phi_3_turns_a_part_of_each_head_and_keeps_its_length_apart() -> None:
    config = LLAMA2 | {
        "model_type": "phi3", "hidden_size": 3072, "num_attention_heads": 24, "num_key_value_heads": 24,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 4096, "max_position_embeddings": 131072, "sliding_window": 262144,
        "rope_scaling": {"type": "su", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48},
    }  # fmt: skip
    found = spec(config)
    assert found.rope.dim == 96
    scaling = found.rope.scaling
    assert (scaling.kind, scaling.factor, scaling.original_context_len) == ("longrope", 32.0, 4096)
    assert (scaling.short_factors, scaling.long_factors) == ((1.0,) * 48, (2.0,) * 48)


def test_smollm_3_leaves_positions_out() -> None:
    config = LLAMA2 | {"model_type": "smollm3", "num_hidden_layers": 8}
    assert spec(config).rotated == (True, True, True, False) * 2
    assert spec(config | {"no_rope_layers": [1, 0] * 4}).rotated == (True, False) * 4
    with pytest.raises(ModelFileError):
        spec(config | {"no_rope_layers": [1, 2] * 4})


def test_granite_multiplies() -> None:
    config = LLAMA2 | {
        "model_type": "granite", "embedding_multiplier": 12.0, "attention_multiplier": 0.0078125, "residual_multiplier": 0.22,
        "logits_scaling": 16.0,
    }  # fmt: skip
    found = spec(config)
    assert (found.embedding_scale, found.attention_scale, found.residual_scale) == (12.0, 0.0078125, 0.22)
    assert found.logit_scale == 1 / 16


def test_mixtral() -> None:
    config = LLAMA2 | {
        "model_type": "mixtral", "intermediate_size": 14336, "num_key_value_heads": 8, "rope_theta": 1e6,
        "sliding_window": None, "num_local_experts": 8, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.02,
    }  # fmt: skip
    found = spec(config)
    assert (found.architecture, found.mixture, found.sliding_window) == ("mixtral", Mixture(8, 2, 14336), 0)
    assert spec(config | {"sliding_window": 4096}).sliding_window == 4096


QWEN3_MOE: dict[str, Any] = LLAMA2 | {
    "model_type": "qwen3_moe", "hidden_size": 2048, "head_dim": 128, "num_attention_heads": 32, "num_key_value_heads": 4,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
    "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "rope_theta": 1e6, "rms_norm_eps": 1e-6,
}  # fmt: skip


def test_qwen_3_with_experts() -> None:
    found = spec(QWEN3_MOE)
    assert (found.architecture, found.mixture) == ("qwen3moe", Mixture(128, 8, 768))
    assert found.mixture is not None
    assert found.mixture.has(0)
    later = {k: v for k, v in QWEN3_MOE.items() if k != "num_experts"} | {"num_local_experts": 128}  # transformers 5
    assert spec(later) == found
    assert spec(QWEN3_MOE | {"norm_topk_prob": None}).mixture == Mixture(128, 8, 768, norm_topk_prob=False)
    some = spec(QWEN3_MOE | {"num_hidden_layers": 4, "decoder_sparse_step": 2, "mlp_only_layers": [1]}).mixture
    assert some == Mixture(128, 8, 768, layers=(False, False, False, True))
    assert spec(QWEN3_MOE | {"num_experts": 0}).mixture is None
    assert spec(QWEN3_MOE | {"num_hidden_layers": 2, "mlp_only_layers": [0, 1]}).mixture is None


def test_qwen_2_has_an_expert_for_all_besides() -> None:
    config = QWEN3_MOE | {
        "model_type": "qwen2_moe", "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632, "norm_topk_prob": False, "use_sliding_window": False, "sliding_window": 32768,
    }  # fmt: skip
    found = spec(config)
    assert (found.architecture, found.sliding_window) == ("qwen2moe", 0)
    assert found.mixture == Mixture(60, 4, 1408, shared_ffn_size=5632, norm_topk_prob=False)
    windows = {"use_sliding_window": True, "sliding_window": 64, "num_hidden_layers": 5, "max_window_layers": 3}
    assert spec(config | windows).windowed == (True, False, True, False, False)


@pytest.mark.parametrize(
    "change",
    [
        {"num_experts": 4, "num_experts_per_tok": 5}, {"num_experts_per_tok": 0}, {"num_experts_per_tok": None},
        {"num_experts": 10**9}, {"num_experts": -1}, {"num_experts": "128"}, {"moe_intermediate_size": None},
        {"moe_intermediate_size": 0}, {"norm_topk_prob": 1}, {"decoder_sparse_step": 0}, {"mlp_only_layers": "0"},
        {"mlp_only_layers": [1.5]}, {"shared_expert_intermediate_size": -1},
    ],
)  # fmt: skip
def test_hostile_mixtures_are_one_sentence(change: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError) as caught:
        spec_from_hf(QWEN3_MOE | change, tensors(QWEN3_MOE))
    assert len(str(caught.value)) < 400


def test_yarn_with_mscale_and_without() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    assert spec(LLAMA2 | {"rope_scaling": yarn}).rope.scaling.attention_factor is None
    both = yarn | {"mscale": 1.0, "mscale_all_dim": 0.5}
    expected = (0.1 * math.log(4) + 1) / (0.05 * math.log(4) + 1)
    assert spec(LLAMA2 | {"rope_scaling": both}).rope.scaling.attention_factor == pytest.approx(expected)
    assert spec(LLAMA2 | {"rope_scaling": yarn | {"attention_factor": 1.5}}).rope.scaling.attention_factor == 1.5


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gpt_oss"},
        {},
        LLAMA2 | {"hidden_act": "relu"},
        LLAMA2 | {"model_type": "gemma3_text", "hidden_act": None, "use_bidirectional_attention": True},
        LLAMA2 | {"rope_scaling": {"rope_type": "proportional", "factor": 2.0}},
        LLAMA2 | {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "truncate": False}},
        LLAMA2 | {"model_type": "qwen3", "layer_types": ["linear_attention"] * 32},
    ],
)
def test_what_it_has_no_words_for_is_none(config: dict[str, Any]) -> None:
    assert spec_from_hf(config, tensors(config)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 0}, {"num_hidden_layers": 10**9}, {"num_hidden_layers": "32"}, {"num_hidden_layers": True},
        {"num_hidden_layers": None}, {"hidden_size": -1}, {"hidden_size": 2048}, {"hidden_size": 4096.5},
        {"num_attention_heads": 10**30}, {"num_key_value_heads": 5}, {"num_key_value_heads": 0}, {"head_dim": 0},
        {"head_dim": 63}, {"rms_norm_eps": math.nan}, {"rms_norm_eps": -1e-5}, {"rms_norm_eps": math.inf}, {"rope_theta": 0},
        {"rope_theta": math.nan}, {"rope_theta": 1e300}, {"rope_scaling": "linear"}, {"rope_scaling": {"type": "linear"}},
        {"rope_scaling": {"type": "linear", "factor": 0}}, {"rope_scaling": {"type": "linear", "factor": ["2"]}},
        {"rope_scaling": {"type": ["linear"]}}, {"rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0]}},
        {"max_position_embeddings": -5}, {"max_position_embeddings": 10**18}, {"partial_rotary_factor": 2.0},
        {"partial_rotary_factor": 0.0}, {"layer_types": "full_attention"}, {"layer_types": ["full_attention"]},
        {"tie_word_embeddings": "yes"}, {"model_type": 5}, {"text_config": []}, {"logits_scaling": 0}, {"hidden_act": 3},
    ],
)  # fmt: skip
def test_hostile_values_are_one_sentence(change: dict[str, Any]) -> None:
    config = LLAMA2 | change
    with pytest.raises(ModelFileError) as caught:
        spec_from_hf(config, tensors(LLAMA2))
    assert len(str(caught.value)) < 400


def test_a_model_without_embedding_is_incomplete() -> None:
    with pytest.raises(ModelFileError, match="embeddings"):
        spec_from_hf(LLAMA2, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "factor", "rope_theta"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = sorted(
    {*LLAMA2, "rope_parameters", "layer_types", "head_dim", "sliding_window", "no_rope_layers", "rope_theta", "text_config"}
)


@given(
    st.dictionaries(st.sampled_from(KEYS), JSON), st.sampled_from(["llama", "qwen2", "gemma3", "phi3", "smollm3", "granite"])
)
def test_anything_at_all_is_a_spec_or_none_or_a_sentence(values: dict[str, Any], model_type: str) -> None:
    config = LLAMA2 | {"hidden_act": None, "model_type": model_type} | values
    try:
        found = spec_from_hf(config, tensors(LLAMA2))
    except ModelFileError:
        return
    assert found is None or found.num_layers > 0
