"""Phi 3, 3.5 (dense), 4 and 4-mini: Llama with q, k, v in one matrix, and gate and up in another."""

from __future__ import annotations

from publican.executors.native.families.family import Family

PHI3 = Family(
    hf_names={"qkv": "layers.{}.self_attn.qkv_proj", "gate_up": "layers.{}.mlp.gate_up_proj"},
    gguf_names={"qkv": "blk.{}.attn_qkv", "gate_up": "blk.{}.ffn_up"},
)
