"""A `Mixture` from the `config.json` of a Hugging Face model: how many experts, how wide, in which layers.

Called by `spec_hf`, on any thread. Names of tensors are the executors' business.
"""

from __future__ import annotations

from typing import Literal

from publican.core.model import Mixture
from publican.store.spec_fields import MAX_EXPERTS, MAX_LAYERS, Fields


def mixture_of(fields: Fields, words: Literal["mixtral", "qwen"], num_layers: int) -> Mixture | None:
    """What the file says of experts; None where no layer has any.

    Raises:
        ModelFileError: a value is missing or absurd.
    """
    if words == "mixtral":
        return Mixture(
            num_experts=fields.count("num_local_experts", 8, high=MAX_EXPERTS),
            num_experts_per_token=fields.count("num_experts_per_tok", 2, high=MAX_EXPERTS),
            ffn_size=fields.count("intermediate_size"),
        )
    layers = _layers(fields, num_layers)
    # transformers 5 has one name for all; files of before say `num_experts`
    num_experts = fields.count("num_experts", fields.count("num_local_experts", 0, low=0, high=MAX_EXPERTS), low=0)
    if not num_experts or not any(layers):
        return None
    return Mixture(
        num_experts=fields.count("num_experts", num_experts, high=MAX_EXPERTS),
        num_experts_per_token=fields.count("num_experts_per_tok", high=MAX_EXPERTS),
        ffn_size=fields.count("moe_intermediate_size"),
        shared_ffn_size=fields.count("shared_expert_intermediate_size", 0, low=0),
        norm_topk_prob=fields.flag("norm_topk_prob"),
        layers=() if all(layers) else layers,
    )


def _layers(fields: Fields, num_layers: int) -> tuple[bool, ...]:
    """Every `decoder_sparse_step`th layer, but for those of `mlp_only_layers`."""
    every = fields.count("decoder_sparse_step", 1, high=MAX_LAYERS)
    dense = fields.get("mlp_only_layers") or []
    if not isinstance(dense, list | tuple) or not all(type(layer) is int for layer in dense):
        raise fields.wrong("mlp_only_layers", dense, "a list of layers")
    return tuple(layer not in dense and (layer + 1) % every == 0 for layer in range(num_layers))
