"""Rotary positions as `config.json` describes them: `rope_theta` and `rope_scaling` until 2025, `rope_parameters` since.

Called by `spec_hf` only.
"""

from __future__ import annotations

import math

from publican.core.model import Rope, RopeKind, RopeScaling
from publican.store.spec_fields import MAX_CONTEXT, Fields, NotDescribedError

_KINDS: dict[str, RopeKind] = {
    "": "none",
    "default": "none",
    "mrope": "none",  # for text alone the three position streams of a seeing model are one
    "linear": "linear",
    "dynamic": "dynamic",
    "yarn": "yarn",
    "llama3": "llama3",
    "longrope": "longrope",
    "su": "longrope",
}


def rope_of(fields: Fields, layer_type: str, head_dim: int, context_len: int, theta: float) -> Rope:
    """The rotary positions of the layers of `layer_type` (in files that distinguish).

    Args:
        theta: where the file is silent.

    Raises:
        ModelFileError, NotDescribedError
    """
    parameters = fields.section("rope_parameters")
    section = (parameters and parameters.section(layer_type)) or parameters
    section = section or fields.section("rope_scaling") or Fields({}, "rope_scaling")
    theta = section.number("rope_theta", fields.number("rope_theta", theta, low=1.0), low=1.0)
    share = section.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0, high=1.0), high=1.0)
    dim = int(head_dim * share)
    return Rope(theta, dim, _scaling(fields, section, dim, context_len))


def _scaling(fields: Fields, section: Fields, dim: int, context_len: int) -> RopeScaling:
    name = section.text("rope_type") or section.text("type")
    if name not in _KINDS:
        raise NotDescribedError(f"rope of type {name}")
    kind = _KINDS[name]
    if kind == "none":
        return RopeScaling()
    # Phi-3 keeps its original length beside the section, and that one wins.
    inside = section.count("original_max_position_embeddings", context_len, high=MAX_CONTEXT)
    original = fields.count("original_max_position_embeddings", inside, high=MAX_CONTEXT)
    if kind == "dynamic":
        original = context_len
    stretched = context_len / original if kind in ("yarn", "longrope") else None
    return RopeScaling(
        kind=kind,
        factor=section.number("factor", stretched, low=1e-3, high=1e6),
        original_context_len=original,
        attention_factor=_attention_factor(section, kind),
        low_freq_factor=section.number("low_freq_factor", 1.0, low=1e-6),
        high_freq_factor=section.number("high_freq_factor", 4.0, low=1e-6),
        beta_fast=section.number("beta_fast", 32.0, low=1e-6),
        beta_slow=section.number("beta_slow", 1.0, low=1e-6),
        short_factors=section.numbers("short_factor", dim // 2, 1e-6, 1e6) if kind == "longrope" else (),
        long_factors=section.numbers("long_factor", dim // 2, 1e-6, 1e6) if kind == "longrope" else (),
    )


def _attention_factor(section: Fields, kind: RopeKind) -> float | None:
    if section.has("attention_factor"):
        return section.number("attention_factor", high=1e3)
    if kind != "yarn":
        return None
    if not section.flag("truncate", True):
        raise NotDescribedError("yarn without rounded corners")
    mscale, all_dim = section.number("mscale", 0.0), section.number("mscale_all_dim", 0.0)
    if not (mscale and all_dim):
        return None
    grown = math.log(max(1.0, section.number("factor", 1.0)))
    return (0.1 * mscale * grown + 1.0) / (0.1 * all_dim * grown + 1.0)
