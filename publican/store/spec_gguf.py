"""A `ModelSpec` from the header of a GGUF file, in the keys that llama.cpp's converter writes.

Called by whoever opens a checkpoint, on any thread. What a GGUF leaves unsaid because llama.cpp has it in its code (which
layers have a window, Gemma's embedding scale) is said here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from publican.core.model import ModelSpec, Rope, RopeKind, RopeScaling, TensorInfo
from publican.store.spec_fields import MAX_CONTEXT, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, Fields, NotDescribedError, checked
from publican.store.spec_gguf_mixture import mixture_of

_ARCHITECTURES = frozenset(
    {"llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "smollm3", "granite", "olmo2", "qwen2moe", "qwen3moe"},
)
_WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6}  # the last layer of each period sees everything
_LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}  # scaled by the width per head, unlike its smaller sisters
_ROPE_KINDS: dict[str, RopeKind] = {"": "none", "none": "none", "linear": "linear", "yarn": "yarn", "longrope": "longrope"}


def spec_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> ModelSpec | None:
    """The shape of the model whose header is `metadata`, or None if `native` has no words for it.

    Raises:
        ModelFileError: a value is missing, absurd, or contradicts the tensors.
    """
    architecture = Fields(metadata, "the GGUF header").text("general.architecture")
    if architecture not in _ARCHITECTURES:
        return None
    fields = Fields(metadata, "the GGUF header", f"{architecture}.")
    try:
        return checked(_spec(architecture, fields, tensors), tensors.get("token_embd.weight"))
    except NotDescribedError:
        return None


def _spec(architecture: str, fields: Fields, tensors: Mapping[str, TensorInfo]) -> ModelSpec:
    num_layers = fields.count("block_count", high=MAX_LAYERS)
    mixture = mixture_of(architecture, fields, tensors, num_layers)
    is_gemma = architecture.startswith("gemma")
    hidden_size = fields.count("embedding_length")
    num_heads = fields.count("attention.head_count", high=MAX_HEADS)
    head_dim = fields.count("attention.key_length", max(1, hidden_size // num_heads), high=MAX_HEAD_DIM)
    if fields.count("attention.value_length", head_dim, high=MAX_HEAD_DIM) != head_dim:
        raise NotDescribedError("keys and values of different width")
    window, windowed = _windows(architecture, fields, num_layers)
    rope = _rope(fields, tensors, head_dim)
    local_theta = fields.number("rope.freq_base_swa", 10_000.0, low=1.0)
    return ModelSpec(
        architecture="mixtral" if mixture is not None and architecture == "llama" else architecture,
        num_layers=num_layers,
        hidden_size=hidden_size,
        ffn_size=fields.count("feed_forward_length"),
        num_heads=num_heads,
        num_kv_heads=fields.count("attention.head_count_kv", num_heads, high=MAX_HEADS),
        head_dim=head_dim,
        vocab_size=0,  # `checked` asks the embedding
        context_len=fields.count("context_length", high=MAX_CONTEXT),
        norm_eps=fields.number("attention.layer_norm_rms_epsilon", high=1.0),
        rope=rope,
        local_rope=Rope(local_theta, rope.dim) if architecture == "gemma3" else None,
        sliding_window=window,
        windowed=windowed,
        rotated=tuple((layer + 1) % 4 != 0 for layer in range(num_layers)) if architecture == "smollm3" else (),
        attention_scale=_attention_scale(architecture, fields, num_layers, hidden_size / num_heads),
        attention_softcap=fields.number("attn_logit_softcapping", 50.0 if architecture == "gemma2" else 0.0),
        final_softcap=fields.number("final_logit_softcapping", 30.0 if architecture == "gemma2" else 0.0),
        embedding_scale=math.sqrt(hidden_size) if is_gemma else fields.number("embedding_scale", 1.0),
        residual_scale=fields.number("residual_scale", 1.0),
        logit_scale=1.0 / fields.number("logit_scale", 1.0, low=1e-6),
        tied="output.weight" not in tensors,
        mixture=mixture,
    )


def _windows(architecture: str, fields: Fields, num_layers: int) -> tuple[int, tuple[bool, ...]]:
    """The sliding window, and which layers have it; a window of 0 is none."""
    default = 4_096 if architecture == "gemma2" else 0
    window = fields.count("attention.sliding_window", default, low=0, high=MAX_CONTEXT)
    period = _WINDOW_PERIODS.get(architecture)
    if not window or period is None:
        return window, ()
    return window, tuple((layer + 1) % period != 0 for layer in range(num_layers))


def _attention_scale(architecture: str, fields: Fields, num_layers: int, width_per_head: float) -> float:
    if _LAYERS_OF_27B.get(architecture) == num_layers:
        return float(width_per_head**-0.5)
    return fields.number("attention.scale", 0.0)


def _rope(fields: Fields, tensors: Mapping[str, TensorInfo], head_dim: int) -> Rope:
    """The rotary positions. Factors that a GGUF keeps in tensors (`rope_freqs`, `rope_factors_long`) stay there."""
    theta = fields.number("rope.freq_base", 10_000.0, low=1.0)
    dim = fields.count("rope.dimension_count", head_dim, high=MAX_HEAD_DIM)
    name = fields.text("rope.scaling.type")
    if name not in _ROPE_KINDS:
        raise NotDescribedError(f"rope of type {name}")
    kind = "longrope" if "rope_factors_long.weight" in tensors else _ROPE_KINDS[name]
    factor = fields.number("rope.scaling.factor", fields.number("rope.scale_linear", 1.0), low=0.0, high=1e6) or 1.0
    if kind == "none" and not name and factor != 1.0:
        kind = "linear"  # files from before 2023-10 have a factor and no type
    if kind == "none":
        return Rope(theta, dim)
    context_len = fields.count("context_length", high=MAX_CONTEXT)
    original = fields.count("rope.scaling.original_context_length", context_len, high=MAX_CONTEXT)
    scaling = RopeScaling(
        kind=kind,
        factor=context_len / original if kind == "longrope" else factor,
        original_context_len=original,
        attention_factor=_attention_factor(fields, kind, factor),
        beta_fast=fields.number("rope.scaling.yarn_beta_fast", 32.0, low=1e-6),
        beta_slow=fields.number("rope.scaling.yarn_beta_slow", 1.0, low=1e-6),
    )
    return Rope(theta, dim, scaling)


def _attention_factor(fields: Fields, kind: RopeKind, factor: float) -> float | None:
    """llama.cpp multiplies YaRN's own factor by the file's, and takes longrope's from the file alone."""
    if not fields.has("rope.scaling.attn_factor"):
        return None
    given = fields.number("rope.scaling.attn_factor", high=1e3)
    return given * (0.1 * math.log(max(1.0, factor)) + 1.0) if kind == "yarn" else given
