"""Tiny models of every family with random weights, made by transformers and saved as it saves them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VOCAB = 128
SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 1.9, 4.0, 9.0]}
ROPES: dict[str, dict[str, Any]] = {
    "none": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.5},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "yarn-mscale": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "mscale": 0.7, "mscale_all_dim": 1.3
    },
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 40,
    },
    "longrope": LONG | {"original_max_position_embeddings": 32},
}  # fmt: skip
"""What `rope_parameters` may say, for a rotary dimension of eight."""

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied and biased": ("Llama", {"tie_word_embeddings": True, "attention_bias": True}),
    "llama, many heads and wide ones": ("Llama", {"num_key_value_heads": 4, "head_dim": 12}),
    "llama, one key-value head": ("Llama", {"num_key_value_heads": 1}),
    "mistral": ("Mistral", {"sliding_window": 9}),
    "mistral without window": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen2 with windows": ("Qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma2": (
        "Gemma2",
        {
            "head_dim": 16, "sliding_window": 9, "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "Gemma3Text",
        {
            "head_dim": 16, "sliding_window": 9, "query_pre_attn_scalar": 24, "sliding_window_pattern": 2,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "phi3": ("Phi3", {"sliding_window": 11}),
    "phi4-mini": (
        "Phi3",
        {"hidden_size": 64, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.5}},
    ),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 5}),
    "granite": (
        "Granite",
        {"embedding_multiplier": 6.0, "attention_multiplier": 0.3, "residual_multiplier": 0.22, "logits_scaling": 4.0},
    ),
    "olmo2": ("Olmo2", {}),
    "mixtral": ("Mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 9}),
    "qwen2-moe": (
        "Qwen2Moe",
        {
            "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40,
            "decoder_sparse_step": 2,
        },
    ),
    "qwen3-moe": (
        "Qwen3Moe",
        {
            "num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 20, "norm_topk_prob": True, "head_dim": 16,
            "mlp_only_layers": [1],
        },
    ),
    "qwen3-moe, all experts, not normalised": (
        "Qwen3Moe",
        {"num_experts": 3, "num_experts_per_tok": 3, "moe_intermediate_size": 40, "norm_topk_prob": False, "head_dim": 16},
    ),
}  # fmt: skip
"""Name to (transformers' class without ``ForCausalLM``, what differs from `SHAPE`)."""


def quiet() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def make(class_name: str, seed: int = 0, **options: Any) -> Any:
    """A transformers model in float32 whose every parameter is random, norms and biases too."""
    quiet()
    import torch
    import transformers

    stem = class_name.removesuffix("Text") if class_name == "Gemma3Text" else class_name
    config = getattr(transformers, f"{class_name}Config")(**(SHAPE | options))
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{stem}ForCausalLM")(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:  # experts are of three dimensions, their inputs last
            noise *= parameter.shape[-1] ** -0.5 if "embed" not in name else 1.0
        else:
            noise = 0.2 * noise + (1.0 if "norm" in name and "gemma" not in config.model_type else 0.0)
        parameter.data.copy_(noise)
    return model


def logits(model: Any, tokens: list[int]) -> np.ndarray:
    """[tokens, V]"""
    import torch

    with torch.no_grad():
        return np.asarray(model(torch.tensor([tokens]), use_cache=False).logits[0].numpy())


def save(model: Any, folder: Path, edit: Callable[[Path], None] | None = None) -> Path:
    model.save_pretrained(folder)
    if edit is not None:
        edit(folder)
    return folder
