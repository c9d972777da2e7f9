"""Every family as a GGUF: equal to transformers, and to libllama, which has the last word on what a GGUF means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.executors.native.config import NativeConfig
from publican.executors.native.loading import load
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import gguf_files, libllama, lora_files, tiny
from tests.executors.native.gguf_blocks import random_matrix

CONFIG = NativeConfig(context_len=64, num_slots=1, page_len=4, max_logits=64)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "llama 3": ("Llama", {"rope_parameters": tiny.ROPES["llama3"] | {"rope_theta": 5e5}}),
    "llama, linear": ("Llama", {"rope_parameters": tiny.ROPES["linear"] | {"rope_theta": 1e4}}),
    "llama, yarn": ("Llama", {"rope_parameters": tiny.ROPES["yarn"] | {"rope_theta": 1e4}}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma2": (
        "Gemma2",
        {
            "head_dim": 16, "sliding_window": 9, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0,
            "num_hidden_layers": 4,
        },
    ),
    "gemma3": (
        "Gemma3Text",
        {
            "head_dim": 16, "sliding_window": 9, "query_pre_attn_scalar": 16, "num_hidden_layers": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "phi3": (
        "Phi3",
        {
            "rope_parameters": tiny.ROPES["longrope"] | {"rope_theta": 1e4}, "original_max_position_embeddings": 32,
            "max_position_embeddings": 64,
        },
    ),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 5}),
    "granite": (
        "Granite",
        {"embedding_multiplier": 6.0, "attention_multiplier": 0.3, "residual_multiplier": 0.22, "logits_scaling": 4.0},
    ),
    "olmo2": ("Olmo2", {}),
    "mixtral": ("Mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2}),
    "qwen2-moe": (
        "Qwen2Moe",
        {
            "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40,
            "norm_topk_prob": False,
        },
    ),
    "qwen3-moe": (
        "Qwen3Moe",
        {
            "num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 20, "norm_topk_prob": True, "head_dim": 16,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_gguf_equals_transformers_and_libllama(name: str, tmp_path: Path) -> None:
    class_name, options = MODELS[name]
    model = tiny.make(class_name, seed=len(name), **options)
    path = gguf_files.write(tmp_path / "tiny.gguf", model)
    tokens = np.random.default_rng(1).integers(0, tiny.VOCAB, 50).tolist()
    expected = tiny.logits(model, tokens)
    got = Drive(load(open_checkpoint(path), CONFIG)).step({0: tokens}, num_logits=None)[0]
    assert expected.std() > 0.1
    assert np.abs(got - expected).max() < 3e-5 * np.abs(expected).max()
    theirs = libllama.logits(path, tokens)
    assert np.abs(got - theirs).max() < 2e-3 * np.abs(expected).max()


def several_kinds(folder: Path) -> tuple[Any, Path]:
    """q, k and v of different types cannot be one matrix; shuffled rows and a table of its own type besides."""
    import torch

    model = tiny.make("Llama", hidden_size=256, intermediate_size=256, num_hidden_layers=1, tie_word_embeddings=True)
    kinds = {"attn_q": "Q4_K", "attn_k": "Q6_K", "attn_v": "Q8_0", "attn_output": "Q5_K", "ffn_gate": "Q2_K", "ffn_up": "Q3_K"}
    kinds |= {"ffn_down": "Q5_1"}
    layer = model.model.layers[0]
    modules = {
        "attn_q": layer.self_attn.q_proj, "attn_k": layer.self_attn.k_proj, "attn_v": layer.self_attn.v_proj,
        "attn_output": layer.self_attn.o_proj, "ffn_gate": layer.mlp.gate_proj, "ffn_up": layer.mlp.up_proj,
        "ffn_down": layer.mlp.down_proj,
    }  # fmt: skip
    tensors: dict[str, gguf_files.Tensor] = {}
    for i, (name, module) in enumerate(modules.items()):
        num_outputs, num_inputs = module.weight.shape
        raw, values = random_matrix(kinds[name], num_outputs, num_inputs // (256 if "_K" in kinds[name] else 32), seed=i)
        heads = {"attn_q": 4, "attn_k": 2}.get(name)
        if heads:  # the file has them shuffled: what transformers gets is the way back
            values = values.reshape(heads, -1, 2, num_inputs).swapaxes(1, 2).reshape(values.shape)
        module.weight.data.copy_(torch.from_numpy(values))
        tensors[f"blk.0.{name}.weight"] = kinds[name], (num_outputs, num_inputs), raw.tobytes()
    return model, gguf_files.write(folder / "mixed.gguf", model, tensors=tensors)


def test_quantised_of_several_kinds_in_one_layer(tmp_path: Path) -> None:
    model, path = several_kinds(tmp_path)
    tokens = np.random.default_rng(2).integers(0, tiny.VOCAB, 40).tolist()
    expected = tiny.logits(model, tokens)
    got = Drive(load(open_checkpoint(path), CONFIG)).step({0: tokens}, num_logits=None)[0]
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_an_adapter_on_matrices_that_cannot_be_one(tmp_path: Path) -> None:
    """Each of q, k and v has a linear layer of its own here, with its own of what the adapter adds."""
    model, path = several_kinds(tmp_path)
    adapter = lora_files.adapter(tmp_path / "some", model)
    drive = Drive(load(open_checkpoint(path), CONFIG, None, [adapter]))
    drive.adapters = {0: 0}
    tokens = np.random.default_rng(2).integers(0, tiny.VOCAB, 40).tolist()
    expected = tiny.logits(lora_files.merged(model, adapter.path), tokens)
    assert np.abs(expected - tiny.logits(model, tokens)).max() > 0.1 * np.abs(expected).max()
    got = drive.step({0: tokens}, num_logits=None)[0]
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()
