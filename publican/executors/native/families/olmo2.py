"""OLMo 2: no norm before attention and feed-forward but one after each, and q and k normalised over all heads together."""

from __future__ import annotations

from publican.executors.native.families.family import Family

OLMO2 = Family(
    pre_norm=False,
    post_norm=True,
    qk_norm="all",
    hf_names={
        "attn_post_norm": "layers.{}.post_attention_layernorm",
        "ffn_post_norm": "layers.{}.post_feedforward_layernorm",
    },
)
