"""A `ModelSpec` from the `config.json` of a Hugging Face model, in the words of transformers 4 and 5.

Called by whoever opens a checkpoint, on any thread. Which tensors a family has and in which order they are applied is
the executors' business; this file knows only what the configuration says in numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from publican.core.model import ModelSpec, Rope, TensorInfo
from publican.store.spec_fields import MAX_CONTEXT, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, Fields, NotDescribedError, checked
from publican.store.spec_hf_mixture import mixture_of
from publican.store.spec_hf_rope import rope_of

_SILU = frozenset({"silu", "swish"})
_GELU_TANH = frozenset({"gelu", "gelu_pytorch_tanh"})  # Gemma's "gelu" always meant the tanh form


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a `model_type` means.

    Attributes:
        architecture: our family.
        activations: what its feed-forward layers may use.
        theta: of the rotary embedding, where the file is silent.
        tied: whether the output is the embedding, where the file is silent.
        window: whether a `sliding_window` counts: never, always, or if `use_sliding_window` says so.
        window_len: of the window, where the file is silent.
        mixture: in whose words the file describes experts; empty for a dense model.
    """

    architecture: str
    activations: frozenset[str] = _SILU
    theta: float = 10_000.0
    tied: bool = False
    window: Literal["never", "always", "flagged"] = "never"
    window_len: int = 0
    mixture: Literal["", "mixtral", "qwen"] = ""


_KINDS: Mapping[str, _Kind] = {
    "llama": _Kind("llama"),
    "mistral": _Kind("llama", window="always"),
    "qwen2": _Kind("qwen2", window="flagged"),
    "qwen3": _Kind("qwen3", window="flagged"),
    "gemma": _Kind("gemma", _GELU_TANH, tied=True),
    "gemma2": _Kind("gemma2", _GELU_TANH, tied=True, window="always", window_len=4_096),
    "gemma3": _Kind("gemma3", _GELU_TANH, theta=1_000_000.0, tied=True, window="always", window_len=4_096),
    "gemma3_text": _Kind("gemma3", _GELU_TANH, theta=1_000_000.0, tied=True, window="always", window_len=4_096),
    "phi3": _Kind("phi3", window="always"),
    "smollm3": _Kind("smollm3", theta=2_000_000.0, tied=True, window="flagged"),
    "granite": _Kind("granite"),
    "olmo2": _Kind("olmo2"),
    "mixtral": _Kind("mixtral", theta=1_000_000.0, window="always", mixture="mixtral"),
    "qwen2_moe": _Kind("qwen2moe", window="flagged", mixture="qwen"),
    "qwen3_moe": _Kind("qwen3moe", window="flagged", mixture="qwen"),
}


def spec_from_hf(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> ModelSpec | None:
    """The shape of the model that `config` describes, or None if `native` has no words for it.

    Raises:
        ModelFileError: a value is missing, absurd, or contradicts the tensors.
    """
    top = Fields(config, "config.json")
    fields = top.section("text_config") or top  # a model that also sees has its language part inside
    kind = _KINDS.get(top.text("model_type")) or _KINDS.get(fields.text("model_type"))
    if kind is None:
        return None
    try:
        return checked(_spec(fields, kind, tensors), _embedding(tensors))
    except NotDescribedError:
        return None


def _spec(fields: Fields, kind: _Kind, tensors: Mapping[str, TensorInfo]) -> ModelSpec:
    activation = fields.text("hidden_activation") or fields.text("hidden_act", next(iter(kind.activations)))
    if activation not in kind.activations:
        raise NotDescribedError(activation)
    if fields.flag("use_bidirectional_attention"):
        raise NotDescribedError("an encoder")
    is_gemma = kind.architecture.startswith("gemma")
    num_layers = fields.count("num_hidden_layers", high=MAX_LAYERS)
    hidden_size = fields.count("hidden_size")
    num_heads = fields.count("num_attention_heads", high=MAX_HEADS)
    head_dim = fields.count("head_dim", 256 if is_gemma else max(1, hidden_size // num_heads), high=MAX_HEAD_DIM)
    context_len = fields.count("max_position_embeddings", 8_192 if is_gemma else 2_048, high=MAX_CONTEXT)
    window, windowed = _windows(fields, kind, num_layers)
    has_output = any(name.startswith("lm_head.") or ".lm_head." in name for name in tensors)
    return ModelSpec(
        architecture=kind.architecture,
        num_layers=num_layers,
        hidden_size=hidden_size,
        ffn_size=fields.count("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=fields.count("num_key_value_heads", num_heads, high=MAX_HEADS),
        head_dim=head_dim,
        vocab_size=0,  # `checked` asks the embedding
        context_len=context_len,
        norm_eps=fields.number("rms_norm_eps", 1e-6, high=1.0),
        rope=rope_of(fields, "full_attention", head_dim, context_len, kind.theta),
        local_rope=_local_rope(fields, head_dim, context_len) if kind.architecture == "gemma3" else None,
        sliding_window=window,
        windowed=windowed,
        rotated=_rotated(fields, num_layers) if kind.architecture == "smollm3" else (),
        attention_scale=_attention_scale(fields, kind.architecture),
        attention_softcap=_softcap(fields, "attn_logit_softcapping", kind.architecture, 50.0),
        final_softcap=_softcap(fields, "final_logit_softcapping", kind.architecture, 30.0),
        embedding_scale=math.sqrt(hidden_size) if is_gemma else fields.number("embedding_multiplier", 1.0),
        residual_scale=fields.number("residual_multiplier", 1.0),
        logit_scale=1.0 / fields.number("logits_scaling", 1.0, low=1e-6),
        tied=fields.flag("tie_word_embeddings", kind.tied) or not has_output,
        mixture=mixture_of(fields, kind.mixture, num_layers) if kind.mixture else None,
    )


def _embedding(tensors: Mapping[str, TensorInfo]) -> TensorInfo | None:
    return next((info for name, info in tensors.items() if name.endswith("embed_tokens.weight")), None)


def _windows(fields: Fields, kind: _Kind, num_layers: int) -> tuple[int, tuple[bool, ...]]:
    """The sliding window, and which layers have it; a window of 0 is none."""
    types = fields.texts("layer_types", num_layers)
    if not set(types) <= {"full_attention", "sliding_attention"}:
        raise NotDescribedError(f"layers of {', '.join(sorted(set(types)))}")
    if kind.window == "never" or (kind.window == "flagged" and not fields.flag("use_sliding_window")):
        return 0, ()
    window = fields.count("sliding_window", kind.window_len, low=0, high=MAX_CONTEXT)
    windowed = tuple(name == "sliding_attention" for name in types) or _usual_windows(fields, kind.architecture, num_layers)
    return (window, windowed) if window and (not windowed or any(windowed)) else (0, ())


def _usual_windows(fields: Fields, architecture: str, num_layers: int) -> tuple[bool, ...]:
    """Which layers have the window, in files that do not list them."""
    match architecture:
        case "gemma2":
            return tuple(layer % 2 == 0 for layer in range(num_layers))
        case "gemma3":
            every = fields.count("sliding_window_pattern", 6, high=MAX_LAYERS)
            return tuple((layer + 1) % every != 0 for layer in range(num_layers))
        case "smollm3":
            return tuple(not rotated for rotated in _rotated(fields, num_layers))
        case "qwen2moe":
            end = fields.count("max_window_layers", 28, low=0, high=MAX_LAYERS)
            return tuple(layer % 2 == 0 and layer < end for layer in range(num_layers))
        case "qwen2" | "qwen3":
            first = fields.count("max_window_layers", 28, low=0, high=MAX_LAYERS)
            return tuple(layer >= first for layer in range(num_layers))
        case _:
            return ()


def _rotated(fields: Fields, num_layers: int) -> tuple[bool, ...]:
    """Which layers of a SmolLM3 have rotary positions."""
    given = fields.get("no_rope_layers")  # 1 says, against its name, that the layer has them
    if given is None:
        every = fields.count("no_rope_layer_interval", 4, high=MAX_LAYERS)
        return tuple((layer + 1) % every != 0 for layer in range(num_layers))
    if not isinstance(given, list | tuple) or len(given) < num_layers or any(x not in (0, 1) for x in given):
        raise fields.wrong("no_rope_layers", given, f"a list of {num_layers} zeros and ones")
    return tuple(bool(x) for x in given[:num_layers])


def _local_rope(fields: Fields, head_dim: int, context_len: int) -> Rope:
    """Gemma 3's windowed layers turn faster and are never stretched."""
    theta = fields.number("rope_local_base_freq", 10_000.0, low=1.0)
    nested = fields.section("rope_parameters")
    if nested is None or nested.section("sliding_attention") is None:
        return Rope(theta, head_dim)
    return rope_of(fields, "sliding_attention", head_dim, context_len, theta)


def _attention_scale(fields: Fields, architecture: str) -> float:
    if architecture in ("gemma2", "gemma3"):
        return float(fields.number("query_pre_attn_scalar", 256.0, low=1e-6) ** -0.5)
    return fields.number("attention_multiplier", 0.0 if architecture != "granite" else 1.0)


def _softcap(fields: Fields, key: str, architecture: str, default: float) -> float:
    if architecture not in ("gemma2", "gemma3"):
        return 0.0
    # Gemma 2 files may leave the keys out and mean the defaults; a null there means none.
    return fields.number(key, default if architecture == "gemma2" and not fields.names(key) else 0.0)
