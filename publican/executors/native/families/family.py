"""`Family`: how models of one kind differ from the plain Llama, and what they call their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from publican.executors.native.program import Activation

Role = Literal[
    "embedding",
    "final_norm",
    "output",
    "attn_norm",
    "q",
    "k",
    "v",
    "qkv",
    "q_norm",
    "k_norm",
    "o",
    "attn_post_norm",
    "ffn_norm",
    "gate",
    "up",
    "gate_up",
    "down",
    "ffn_post_norm",
    "router",
    "expert_gate",
    "expert_up",
    "expert_down",
    "shared_router",
    "shared_gate",
    "shared_up",
    "shared_down",
]
"""What a module is for. `qkv` and `gate_up` are three and two matrices in one, their outputs one after another.

Of a mixture: `router` chooses experts, `shared_…` is the expert that every token goes through, and `shared_router` its weight.
"""

Names = Mapping[Role, str]
"""A module's name in a file, without ``.weight``; ``{}`` is the layer's number, and a second one the expert's."""

HF_NAMES: Names = {
    "embedding": "embed_tokens",
    "final_norm": "norm",
    "output": "lm_head",
    "attn_norm": "layers.{}.input_layernorm",
    "q": "layers.{}.self_attn.q_proj",
    "k": "layers.{}.self_attn.k_proj",
    "v": "layers.{}.self_attn.v_proj",
    "q_norm": "layers.{}.self_attn.q_norm",
    "k_norm": "layers.{}.self_attn.k_norm",
    "o": "layers.{}.self_attn.o_proj",
    "ffn_norm": "layers.{}.post_attention_layernorm",
    "gate": "layers.{}.mlp.gate_proj",
    "up": "layers.{}.mlp.up_proj",
    "down": "layers.{}.mlp.down_proj",
}
"""transformers' usual names, below the root where the model's own are (``model.``)."""

GGUF_NAMES: Names = {
    "embedding": "token_embd",
    "final_norm": "output_norm",
    "output": "output",
    "attn_norm": "blk.{}.attn_norm",
    "q": "blk.{}.attn_q",
    "k": "blk.{}.attn_k",
    "v": "blk.{}.attn_v",
    "q_norm": "blk.{}.attn_q_norm",
    "k_norm": "blk.{}.attn_k_norm",
    "o": "blk.{}.attn_output",
    "attn_post_norm": "blk.{}.post_attention_norm",
    "ffn_norm": "blk.{}.ffn_norm",
    "gate": "blk.{}.ffn_gate",
    "up": "blk.{}.ffn_up",
    "down": "blk.{}.ffn_down",
    "ffn_post_norm": "blk.{}.post_ffw_norm",
}
"""llama.cpp's names."""


@dataclass(frozen=True, slots=True)
class Family:
    """All defaults are Llama's. Numbers (heads, eps, scales, windows) are the `ModelSpec`'s, not the family's.

    Attributes:
        pre_norm: attention and feed-forward read the residual stream through a norm.
        post_norm: what they give goes through a norm before it is added.
        qk_norm: queries and keys are normalised, each head alone (``head``) or all heads of a token together (``all``).
        activation: of the feed-forward layer.
        norm_shift: what transformers adds to norm weights when it uses them (a GGUF has it added already).
        gguf_interleaved: llama.cpp's converter shuffles the outputs of q and k, so that pairs to be rotated are neighbours.
        hf_names, gguf_names: names that differ from the usual ones.
        hf_other_names: the same, in files that have a module of that `router`; empty where all files agree.
    """

    pre_norm: bool = True
    post_norm: bool = False
    qk_norm: Literal["none", "head", "all"] = "none"
    activation: Activation = "silu"
    norm_shift: float = 0.0
    gguf_interleaved: bool = False
    hf_names: Names = field(default_factory=dict)
    gguf_names: Names = field(default_factory=dict)
    hf_other_names: Names = field(default_factory=dict)
