"""What a caller asks for when it has a model loaded, under the names that loaders have had since 2023. Pure.

Names that nothing here corresponds to are left alone: clients send whole forms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from publican.core.errors import InvalidParameter
from publican.host.options import KVType, LoadOptions

_SHORTEST_CONTEXT, _LONGEST_CONTEXT = 64, 1 << 24
_MOST_LAYERS = 10_000
_LONGEST_NAME = 1_000
_CONTEXT = ("context_len", "ctx_size", "n_ctx", "max_seq_len")
_ALPHA = ("alpha", "alpha_value", "rope_alpha")
_FACTOR = ("rope_factor", "compress_pos_emb")
_CACHE = ("kv_type", "cache_type", "cache_mode")
_LAYERS = ("gpu_layers", "n_gpu_layers")
_SPLIT = ("gpu_split",)
_DRAFT = ("draft_model", "model_draft", "draft_model_name")
_CACHE_TYPES: Mapping[str, KVType] = {
    **dict.fromkeys(("f16", "fp16"), "auto"),  # sixteen bits, of whatever kind an engine has
    **dict.fromkeys(("q8", "q8_0", "fp8", "8"), "q8"),
    **dict.fromkeys(("q4", "q4_0", "4"), "q4"),
    "f32": "f32",
    "bf16": "bf16",
    "auto": "auto",
}


def with_asked(options: LoadOptions, asked: Mapping[str, Any]) -> LoadOptions:
    """`options`, with what `asked` says in their place. None, empty text, and an alpha or a factor of 1 say nothing.

    Raises:
        InvalidParameter: a value is of the wrong type or out of its range.
    """
    context_len = _number(asked, _CONTEXT, _SHORTEST_CONTEXT, _LONGEST_CONTEXT, whole=True, nothing=0)
    alpha = _number(asked, _ALPHA, 1, 1_000, nothing=1)
    factor = _number(asked, _FACTOR, 1, 1_000, nothing=1)
    layers = _number(asked, _LAYERS, -1, _MOST_LAYERS, whole=True)
    rope = options.rope
    if alpha is not None or factor is not None:
        rope = replace(rope, alpha=alpha, factor=factor, scaling=None)
    return replace(
        options,
        context_len=options.context_len if context_len is None else int(context_len),
        rope=rope,
        gpu_layers=options.gpu_layers if layers is None else int(layers),
        gpu_split=_split(asked) or options.gpu_split,
        kv_type=_cache_type(asked) or options.kv_type,
        draft_model=_draft(asked) or options.draft_model,
    )


def _said(asked: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    """The first of `names` that says something, and what; an empty name if none does."""
    return next(((name, asked[name]) for name in names if asked.get(name) not in (None, "")), ("", None))


def _number(
    asked: Mapping[str, Any],
    names: tuple[str, ...],
    low: float,
    high: float,
    *,
    whole: bool = False,
    nothing: float | None = None,
) -> float | None:
    name, value = _said(asked, names)
    if not name or (not isinstance(value, bool) and value == nothing):
        return None
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high or math.isnan(value):
        kind = "a whole number" if whole else "a number"
        raise InvalidParameter("args", f"{name} must be {kind} from {low:,} to {high:,}, got {value!r:.40}.")
    return value


def _split(asked: Mapping[str, Any]) -> tuple[float, ...]:
    name, value = _said(asked, _SPLIT)
    if not name or value in ([], "auto"):
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    try:
        shares = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        shares = ()
    if not 1 <= len(shares) <= 16 or not all(0 <= share <= 10_000 for share in shares):
        raise InvalidParameter("args", f"gpu_split must be GB of each GPU, such as 14,20, got {value!r:.40}.")
    return shares


def _draft(asked: Mapping[str, Any]) -> str:
    """A name, or as TabbyAPI's clients write it, an object with the name in it; ``None`` is how ooba's forms say nothing."""
    name, value = _said(asked, _DRAFT)
    if isinstance(value, Mapping):
        value = value.get("draft_model_name") or ""
    if not name or value in ("", "None"):
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise InvalidParameter("args", f"{name} must be the name of a model, got {value!r:.40}.")
    return value


def _cache_type(asked: Mapping[str, Any]) -> KVType | None:
    name, value = _said(asked, _CACHE)
    if not name:
        return None
    kv_type = _CACHE_TYPES.get(str(value).lower())
    if kv_type is None:
        raise InvalidParameter("args", f"{name} must be one of {', '.join(_CACHE_TYPES)}, got {value!r:.40}.")
    return kv_type
