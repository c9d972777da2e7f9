"""Gemma 1 to 3: norms whose weights count from one, a GELU gate, and since Gemma 2 a norm on either side of each block."""

from __future__ import annotations

from dataclasses import replace

from publican.executors.native.families.family import Family

GEMMA = Family(activation="gelu_tanh", norm_shift=1.0)
GEMMA2 = replace(
    GEMMA,
    post_norm=True,
    hf_names={
        "attn_post_norm": "layers.{}.post_attention_layernorm",
        "ffn_norm": "layers.{}.pre_feedforward_layernorm",
        "ffn_post_norm": "layers.{}.post_feedforward_layernorm",
    },
)
GEMMA3 = replace(GEMMA2, qk_norm="head")
