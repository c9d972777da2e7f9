"""A `Mixture` from the header of a GGUF file. Called by `spec_gguf`, on any thread.

llama.cpp has in its code, and not in the file, whether the weights of a token's experts add up to one.
"""

from __future__ import annotations

from collections.abc import Mapping

from publican.core.model import Mixture, TensorInfo
from publican.store.spec_fields import MAX_EXPERTS, MAX_WIDTH, Fields, NotDescribedError

_NORMALISED = {"llama": True, "qwen2moe": False, "qwen3moe": True}
_SOFTMAX = 1
"""Of llama.cpp's ways of making weights of scores; 0 leaves it to the architecture, which is this one for all three."""


def mixture_of(architecture: str, fields: Fields, tensors: Mapping[str, TensorInfo], num_layers: int) -> Mixture | None:
    """What the header says of experts; None for a dense model.

    Raises:
        ModelFileError: a value is missing or absurd. NotDescribedError: experts of a kind that is not known.
    """
    num_experts = fields.count("expert_count", 0, low=0, high=MAX_EXPERTS)
    if architecture not in _NORMALISED:
        if num_experts:
            raise NotDescribedError("a mixture of experts")
        return None
    if not num_experts and architecture == "llama":
        return None
    if fields.count("expert_gating_func", _SOFTMAX, low=0) not in (0, _SOFTMAX):
        raise NotDescribedError("experts weighted otherwise")
    if fields.number("expert_weights_scale", 0.0) not in (0.0, 1.0) or fields.count("expert_group_count", 0, low=0) > 1:
        raise NotDescribedError("experts in groups, or scaled")
    layers = tuple(f"blk.{layer}.ffn_gate_inp.weight" in tensors for layer in range(num_layers))
    return Mixture(
        num_experts=fields.count("expert_count", high=MAX_EXPERTS),
        num_experts_per_token=fields.count("expert_used_count", high=MAX_EXPERTS),
        ffn_size=_ffn_size(architecture, fields, tensors),
        shared_ffn_size=_shared_ffn_size(fields, tensors) if architecture == "qwen2moe" else 0,
        norm_topk_prob=fields.flag("expert_weights_norm", _NORMALISED[architecture]),
        layers=layers if any(layers) and not all(layers) else (),
    )


def _ffn_size(architecture: str, fields: Fields, tensors: Mapping[str, TensorInfo]) -> int:
    """Mixtral's experts are as wide as a feed-forward layer; of Qwen's, files of March 2024 say it by their tensors alone."""
    if architecture == "llama":
        return fields.count("feed_forward_length")
    return fields.count("expert_feed_forward_length", _width(tensors, "ffn_gate_exps"))


def _shared_ffn_size(fields: Fields, tensors: Mapping[str, TensorInfo]) -> int:
    return fields.count("expert_shared_feed_forward_length", _width(tensors, "ffn_gate_shexp"))


def _width(tensors: Mapping[str, TensorInfo], module: str) -> int | None:
    """Outputs of a module of the first layer, if they can be seen."""
    info = tensors.get(f"blk.0.{module}.weight")
    found = info.shape[-2] if info is not None and len(info.shape) > 1 else 0
    return found if 0 < found <= MAX_WIDTH else None
