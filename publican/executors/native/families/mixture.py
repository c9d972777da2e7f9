"""Mixtures of experts: Mixtral is Llama with them, Qwen 2 MoE and Qwen 3 MoE are Qwen 2 and 3 with them.

Files that keep all experts of a layer in one tensor are seen as if each had its own (`native.experts_apart`).
"""

from __future__ import annotations

from dataclasses import replace

from publican.executors.native.families.family import Names
from publican.executors.native.families.llama import LLAMA
from publican.executors.native.families.qwen import QWEN2, QWEN3

_QWEN: Names = {
    "router": "layers.{}.mlp.gate",
    "expert_gate": "layers.{}.mlp.experts.{}.gate_proj",
    "expert_up": "layers.{}.mlp.experts.{}.up_proj",
    "expert_down": "layers.{}.mlp.experts.{}.down_proj",
}
_MIXTRAL: Names = {
    "router": "layers.{}.block_sparse_moe.gate",
    "expert_gate": "layers.{}.block_sparse_moe.experts.{}.w1",
    "expert_up": "layers.{}.block_sparse_moe.experts.{}.w3",
    "expert_down": "layers.{}.block_sparse_moe.experts.{}.w2",
}
_SHARED: Names = {
    "shared_router": "layers.{}.mlp.shared_expert_gate",
    "shared_gate": "layers.{}.mlp.shared_expert.gate_proj",
    "shared_up": "layers.{}.mlp.shared_expert.up_proj",
    "shared_down": "layers.{}.mlp.shared_expert.down_proj",
}
_GGUF: Names = {
    "router": "blk.{}.ffn_gate_inp",
    "expert_gate": "blk.{}.ffn_gate.{}",
    "expert_up": "blk.{}.ffn_up.{}",
    "expert_down": "blk.{}.ffn_down.{}",
}
_GGUF_SHARED: Names = {
    "shared_router": "blk.{}.ffn_gate_inp_shexp",
    "shared_gate": "blk.{}.ffn_gate_shexp",
    "shared_up": "blk.{}.ffn_up_shexp",
    "shared_down": "blk.{}.ffn_down_shexp",
}

MIXTRAL = replace(LLAMA, hf_names=_MIXTRAL, hf_other_names=_QWEN, gguf_names=_GGUF)
QWEN2MOE = replace(QWEN2, hf_names={**_QWEN, **_SHARED}, gguf_names={**_GGUF, **_GGUF_SHARED})
QWEN3MOE = replace(QWEN3, hf_names=_QWEN, gguf_names=_GGUF)
