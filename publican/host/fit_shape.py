"""`ShapedModel`: what the planner wants to know of a model, from its headers, whether native could run it or not. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from publican.core.model import Checkpoint, ModelSpec, Rope
from publican.hardware.weights import Weight, described, weights_of
from publican.store.recognise.kind import is_gguf_encoder


@dataclass(frozen=True, slots=True)
class ShapedModel:
    """`is_rough`: the architecture is not known here, and its shape is read from GGUF's common keys, cautiously.
    `is_encoder`: it reads whole texts and writes none."""

    name: str
    spec: ModelSpec
    weights: tuple[Weight, ...]
    is_rough: bool = False
    is_encoder: bool = False

    @property
    def file_bytes(self) -> int:
        return sum(weight.num_bytes for weight in self.weights)


def shape_model(checkpoint: Checkpoint) -> ShapedModel:
    """The shape of a model whose headers are here."""
    weights = weights_of(checkpoint)
    encoder = is_encoder(checkpoint)
    if checkpoint.spec is not None:
        return ShapedModel(checkpoint.name, checkpoint.spec, weights, is_encoder=encoder)
    vocab_size = max((w.num_outputs for w in weights if w.role == "embedding"), default=0)
    spec = replace(_rough_spec(checkpoint), vocab_size=vocab_size)
    return ShapedModel(checkpoint.name, spec, weights, is_rough=True, is_encoder=encoder)


def is_encoder(checkpoint: Checkpoint) -> bool:
    """Whether the model reads whole texts and writes none."""
    return checkpoint.format == "gguf" and is_gguf_encoder(checkpoint.metadata)


def described_model(name: str, spec: ModelSpec, bits: float, group_len: int) -> ShapedModel:
    """A model of published shape that nobody has downloaded."""
    return ShapedModel(name, spec, described(spec, bits, group_len))


def _rough_spec(checkpoint: Checkpoint) -> ModelSpec:
    metadata = checkpoint.metadata
    architecture = str(metadata.get("general.architecture", "unknown"))

    def number(key: str, default: int) -> int:
        value = metadata.get(f"{architecture}.{key}")
        if isinstance(value, list):
            value = max((v for v in value if isinstance(v, int)), default=None)
        return value if isinstance(value, int) and 0 < value < 1 << 24 else default

    hidden, heads = number("embedding_length", 4096), number("attention.head_count", 32)
    head_dim = number("attention.key_length", max(1, hidden // heads))
    return ModelSpec(
        architecture=architecture,
        num_layers=number("block_count", 32),
        hidden_size=hidden,
        ffn_size=number("feed_forward_length", 4 * hidden),
        num_heads=heads,
        num_kv_heads=number("attention.head_count_kv", heads),
        head_dim=head_dim,
        vocab_size=0,
        context_len=number("context_length", 4096),
        norm_eps=0.0,
        rope=Rope(number("rope.freq_base", 10_000), number("rope.dimension_count", head_dim)),
    )
