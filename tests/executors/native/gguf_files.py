"""Writes a transformers model as llama.cpp's converter would: names, keys, shuffled heads, norms that count from zero.

`tests/executors/native/test_gguf_models.py` shows that libllama reads these files as they are meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.store import gguf_bytes

ARCHITECTURES = {
    "gemma3_text": "gemma3", "mistral": "llama", "mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe",
}  # fmt: skip
SHUFFLED = ("llama", "granite", "smollm3")
MODULES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
KINDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "BF16": 30} | {
    f"Q{i}_K": 8 + i for i in range(2, 7)
}

Tensor = tuple[str, tuple[int, ...], bytes]
"""Type, shape outermost first, bytes."""


def write(path: Path, model: Any, extra: Mapping[str, Any] | None = None, tensors: Mapping[str, Tensor] | None = None) -> Path:
    """`tensors` replace those of the model."""
    arch = ARCHITECTURES.get(model.config.model_type, model.config.model_type)
    metadata = {"general.architecture": arch, "tokenizer.ggml.model": "no_vocab"}
    metadata |= {f"{arch}.{key}": value for key, value in (_keys(arch, model.config) | dict(extra or {})).items()}
    found = {name: dense(array) for name, array in _tensors(arch, model).items()} | dict(tensors or {})
    entries, data = [], b""
    for name, (kind, shape, raw) in found.items():
        entries.append(gguf_bytes.RawTensor(name.encode(), shape[::-1], KINDS[kind], len(data)))
        data += raw + b"\0" * (-len(raw) % 32)
    path.write_bytes(gguf_bytes.build(metadata, entries, data))
    return path


def dense(array: np.ndarray) -> Tensor:
    return "F32", array.shape, np.ascontiguousarray(array, np.float32).tobytes()


def shuffle(array: np.ndarray, num_heads: int) -> np.ndarray:
    """The halves of each head's outputs interleaved, so that numbers to be rotated together are neighbours."""
    heads = array.reshape(num_heads, 2, -1, *array.shape[1:])
    return heads.swapaxes(1, 2).reshape(array.shape)


def _keys(arch: str, config: Any) -> dict[str, Any]:
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys: dict[str, Any] = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.dimension_count": int(head_dim * rope.get("partial_rotary_factor", 1.0)),
        "rope.freq_base": float(rope["rope_theta"]),
        "vocab_size": config.vocab_size,
    }
    if rope["rope_type"] in ("linear", "yarn"):
        keys |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": float(rope["factor"])}
    if rope["rope_type"] in ("yarn", "longrope"):
        keys["rope.scaling.original_context_length"] = int(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "longrope":
        original = rope["original_max_position_embeddings"]
        grown = config.max_position_embeddings / original
        keys["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(grown) / math.log(original))
    if arch == "granite":
        keys |= {
            "embedding_scale": float(config.embedding_multiplier),
            "residual_scale": float(config.residual_multiplier),
            "attention.scale": float(config.attention_multiplier),
            "logit_scale": float(config.logits_scaling),
        }
    if arch in ("gemma2", "gemma3", "phi3") and config.sliding_window:
        keys["attention.sliding_window"] = config.sliding_window
    if arch == "gemma2":
        keys["attn_logit_softcapping"] = float(config.attn_logit_softcapping)
        keys["final_logit_softcapping"] = float(config.final_logit_softcapping)
    if getattr(config, "num_experts_per_tok", 0):
        num_experts = getattr(config, "num_local_experts", None) or config.num_experts
        keys |= {"expert_count": num_experts, "expert_used_count": config.num_experts_per_tok}
    if arch in ("qwen2moe", "qwen3moe"):
        keys["expert_feed_forward_length"] = config.moe_intermediate_size
    if arch == "qwen2moe":
        keys["expert_shared_feed_forward_length"] = config.shared_expert_intermediate_size
    return keys


def _tensors(arch: str, model: Any) -> dict[str, np.ndarray]:
    config, found = model.config, {}
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, parameter in model.named_parameters():
        module, _, kind = name.rpartition(".")
        array = parameter.detach().float().numpy()
        if module in TOP:
            target = TOP[module]
        else:
            _, _, layer, inner = module.split(".", 3)
            if inner == "mlp.experts":
                found |= {f"blk.{layer}.{part}": values for part, values in _experts(kind, array).items()}
                continue
            target = MODULES[inner]
            if arch in ("gemma2", "gemma3", "olmo2") and inner == "post_attention_layernorm":
                target = "post_attention_norm"
            if arch in SHUFFLED and target in heads:
                array = shuffle(array, heads[target])
            target = f"blk.{layer}.{target}"
        if target.endswith("ffn_gate_inp_shexp"):
            array = array[0]
        found[f"{target}.{kind}"] = array + 1 if arch.startswith("gemma") and "norm" in target else array
    rope = config.rope_parameters
    if rope.get("rope_type") == "longrope":
        found["rope_factors_long.weight"] = np.array(rope["long_factor"])
        found["rope_factors_short.weight"] = np.array(rope["short_factor"])
    if rope.get("rope_type") == "llama3":
        plain = 1.0 / rope["rope_theta"] ** (np.arange(0, 8, 2) / 8)
        found["rope_freqs.weight"] = plain / model.model.rotary_emb.inv_freq.numpy()
    return found


def _experts(kind: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """All of a layer in one tensor [experts, outputs, inputs]; transformers has gate and up in one besides."""
    if kind == "down_proj":
        return {"ffn_down_exps.weight": array}
    gate, up = np.split(array, 2, axis=1)
    return {"ffn_gate_exps.weight": gate, "ffn_up_exps.weight": up}
