"""The shape of a model in a few numbers, also where `native` has no words for it: from the spec, else from the files' own keys.

Pure; made for people and for JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from publican.core.model import Checkpoint, ModelSpec


@dataclass(frozen=True, slots=True)
class Outline:
    """0 is unknown. `rope` says how positions are stretched, in words; `native_context_len` is before that."""

    num_layers: int = 0
    hidden_size: int = 0
    ffn_size: int = 0
    num_heads: int = 0
    num_kv_heads: int = 0
    head_dim: int = 0
    vocab_size: int = 0
    context_len: int = 0
    native_context_len: int = 0
    rope: str = ""
    sliding_window: int = 0
    num_experts: int = 0


def outline(checkpoint: Checkpoint) -> Outline:
    """Whatever can be said."""
    if checkpoint.spec is not None:
        return _of_spec(checkpoint.spec)
    if checkpoint.format == "gguf":
        architecture = checkpoint.metadata.get("general.architecture")
        return _of_keys(checkpoint.metadata, f"{architecture}.", _GGUF)
    inner = checkpoint.metadata.get("text_config")
    return _of_keys(inner if isinstance(inner, Mapping) else checkpoint.metadata, "", _HF)


def _of_spec(spec: ModelSpec) -> Outline:
    scaling = spec.rope.scaling
    original = scaling.original_context_len or spec.context_len
    stretched = f"{scaling.kind}, {scaling.factor:g} times" if scaling.kind != "none" else ""
    # GGUF and most configurations have the length after stretching; `linear` and `dynamic` ones the one before.
    is_before = scaling.kind in ("linear", "dynamic", "ntk")
    return Outline(
        num_layers=spec.num_layers,
        hidden_size=spec.hidden_size,
        ffn_size=spec.ffn_size,
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        vocab_size=spec.vocab_size,
        context_len=spec.context_len,
        native_context_len=spec.context_len if is_before or not stretched else min(original, spec.context_len),
        rope=stretched,
        sliding_window=spec.sliding_window,
        num_experts=0 if spec.mixture is None else spec.mixture.num_experts,
    )


_GGUF = {
    "num_layers": ("block_count",),
    "hidden_size": ("embedding_length",),
    "ffn_size": ("feed_forward_length",),
    "num_heads": ("attention.head_count",),
    "num_kv_heads": ("attention.head_count_kv",),
    "head_dim": ("attention.key_length",),
    "vocab_size": ("vocab_size",),
    "context_len": ("context_length",),
    "sliding_window": ("attention.sliding_window",),
    "num_experts": ("expert_count",),
}
_HF = {
    "num_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "ffn_size": ("intermediate_size", "n_inner", "d_ff"),
    "num_heads": ("num_attention_heads", "n_head", "num_heads"),
    "num_kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "vocab_size": ("vocab_size",),
    "context_len": ("max_position_embeddings", "n_positions", "max_sequence_length"),
    "sliding_window": ("sliding_window",),
    "num_experts": ("num_local_experts", "num_experts", "n_routed_experts"),
}


def _of_keys(values: Mapping[str, Any], prefix: str, names: Mapping[str, tuple[str, ...]]) -> Outline:
    found: dict[str, Any] = {}
    for field, keys in names.items():
        candidates = (values.get(prefix + key) for key in keys)
        found[field] = next((number for value in candidates if (number := _count(value))), 0)
    if not found["head_dim"] and found["num_heads"]:
        found["head_dim"] = found["hidden_size"] // found["num_heads"]
    found["num_kv_heads"] = found["num_kv_heads"] or found["num_heads"]
    return Outline(**found, native_context_len=found["context_len"])


def _count(value: object) -> int:
    """A number; of one for each layer, the largest."""
    if isinstance(value, list | tuple) and value:
        value = max((item for item in value if type(item) is int), default=0)
    return value if type(value) is int and 0 < value < 1 << 40 else 0
