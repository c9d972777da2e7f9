"""Shapes of well-known models, as their makers published them, so that a model can be planned for that is not here.

Each row is a `config.json` in short: layers, width, feed-forward width, heads, key-value heads, vocabulary, context.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from publican.core.errors import ModelNotFound
from publican.core.model import Mixture, ModelSpec, Rope


def _shape(
    layers: int, hidden: int, ffn: int, heads: tuple[int, int], vocabulary: int, context: int, theta: float = 10_000.0
) -> ModelSpec:
    head_dim = hidden // heads[0]
    rope = Rope(theta, head_dim)
    return ModelSpec("llama", layers, hidden, ffn, *heads, head_dim, vocabulary, context, 1e-5, rope)


def _mixture(shape: ModelSpec, architecture: str, mixture: Mixture, head_dim: int = 128) -> ModelSpec:
    rope = Rope(1_000_000.0, head_dim)
    return replace(shape, architecture=architecture, head_dim=head_dim, rope=rope, mixture=mixture)


SHAPES: Mapping[str, ModelSpec] = {
    "llama-1-7b": _shape(32, 4096, 11008, (32, 32), 32_000, 2_048),
    "llama-1-13b": _shape(40, 5120, 13824, (40, 40), 32_000, 2_048),
    "llama-1-33b": _shape(60, 6656, 17920, (52, 52), 32_000, 2_048),
    "llama-1-65b": _shape(80, 8192, 22016, (64, 64), 32_000, 2_048),
    "llama-2-7b": _shape(32, 4096, 11008, (32, 32), 32_000, 4_096),
    "llama-2-13b": _shape(40, 5120, 13824, (40, 40), 32_000, 4_096),
    "llama-2-70b": _shape(80, 8192, 28672, (64, 8), 32_000, 4_096),
    "codellama-34b": _shape(48, 8192, 22016, (64, 8), 32_000, 16_384, 1_000_000.0),
    "mistral-7b": _shape(32, 4096, 14336, (32, 8), 32_000, 32_768),
    "llama-3-8b": _shape(32, 4096, 14336, (32, 8), 128_256, 8_192, 500_000.0),
    "llama-3-70b": _shape(80, 8192, 28672, (64, 8), 128_256, 8_192, 500_000.0),
    "yi-34b": _shape(60, 7168, 20480, (56, 8), 64_000, 4_096, 5_000_000.0),
    "qwen2.5-7b": _shape(28, 3584, 18944, (28, 4), 152_064, 32_768, 1_000_000.0),
    "qwen2.5-14b": _shape(48, 5120, 13824, (40, 8), 152_064, 32_768, 1_000_000.0),
    "qwen2.5-32b": _shape(64, 5120, 27648, (40, 8), 152_064, 32_768, 1_000_000.0),
    "qwen2.5-72b": _shape(80, 8192, 29568, (64, 8), 152_064, 32_768, 1_000_000.0),
    "mixtral-8x7b": _mixture(_shape(32, 4096, 14336, (32, 8), 32_000, 32_768), "mixtral", Mixture(8, 2, 14336)),
    "mixtral-8x22b": _mixture(_shape(56, 6144, 16384, (48, 8), 32_768, 65_536), "mixtral", Mixture(8, 2, 16384)),
    "qwen3-30b-a3b": _mixture(_shape(48, 2048, 6144, (32, 4), 151_936, 40_960), "qwen3moe", Mixture(128, 8, 768)),
    "qwen3-235b-a22b": _mixture(_shape(94, 4096, 12288, (64, 4), 151_936, 40_960), "qwen3moe", Mixture(128, 8, 1536)),
}


def shape_of(name: str) -> ModelSpec:
    """Raises ModelNotFound with the names there are."""
    spec = SHAPES.get(name.strip().lower())
    if spec is None:
        raise ModelNotFound(name, tuple(SHAPES))
    return spec
