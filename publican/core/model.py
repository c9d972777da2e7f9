"""A model on disk, described but not loaded: what `store` reads out of headers and an executor needs to load it.

`ModelSpec` is the shape of the network in one vocabulary, whatever the file calls it. `Checkpoint` adds where every tensor
lies, so that loading is mapping the files into memory and nothing has to be parsed twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Pooling = Literal["mean", "cls", "last"]
"""How the hidden states of a text become one vector: their mean, that of the first token, or that of the last."""

RopeKind = Literal["none", "linear", "ntk", "dynamic", "yarn", "llama3", "longrope"]


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context. Fields that a kind does not use are ignored.

    Attributes:
        factor: by how much the context grows (`linear`, `dynamic`, `yarn`, `llama3`, and `longrope`'s attention factor).
        alpha: NTK-aware: theta × alpha^(d / (d - 2)) (`ntk`).
        original_context_len: what the model was trained at; 0 means the model's own context.
        attention_factor: multiplies cos and sin (`yarn`, `longrope`); None is the kind's own formula.
        low_freq_factor, high_freq_factor: the two corners of `llama3`.
        beta_fast, beta_slow: the two corners of `yarn`.
        short_factors, long_factors: divisors of each inverse frequency (`longrope`), [rope dim / 2].
    """

    kind: RopeKind = "none"
    factor: float = 1.0
    alpha: float = 1.0
    original_context_len: int = 0
    attention_factor: float | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding: inverse frequency i is theta^(-2i / dim), over the first `dim` of a head's numbers."""

    theta: float
    dim: int
    scaling: RopeScaling = RopeScaling()


@dataclass(frozen=True, slots=True)
class Mixture:
    """Feed-forward layers that are many small ones, the experts, of which each token goes through a few.

    Attributes:
        num_experts: in a layer; num_experts_per_token: of them, for each token.
        ffn_size: of an expert; shared_ffn_size: of the one that every token goes through besides, 0 for none.
        norm_topk_prob: the weights of a token's experts are made to add up to one.
        layers: which layers are mixtures, the others being plain ones; empty means all.
    """

    num_experts: int
    num_experts_per_token: int
    ffn_size: int
    shared_ffn_size: int = 0
    norm_topk_prob: bool = True
    layers: tuple[bool, ...] = ()

    def has(self, layer: int) -> bool:
        return not self.layers or self.layers[layer]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The shape of a decoder.

    Attributes:
        architecture: the family's name in `executors.native.families`: ``llama``, ``qwen2``, ``gemma3``, …
        hidden_size: width of the residual stream; ffn_size: of the feed-forward layer.
        head_dim: numbers per attention head; heads × head_dim need not be hidden_size.
        context_len: what the model was made for, before any scaling by us.
        local_rope: the second rope table, of layers with a sliding window, where they have their own.
        sliding_window: how far back a windowed layer looks, itself included; 0 for none.
        windowed: which layers have the window; empty with a window means all.
        rotated: which layers have rotary positions; empty means all (SmolLM3 leaves some out).
        attention_scale: multiplies the scores; 0 means 1 / sqrt(head_dim).
        attention_softcap, final_softcap: c · tanh(x / c) on scores and on logits; 0 for none.
        embedding_scale, residual_scale, logit_scale: multipliers (Gemma, Granite); 1 for none.
        tied: the output matrix is the embedding.
        mixture: of experts, in place of feed-forward layers; None for a dense model.
    """

    architecture: str
    num_layers: int
    hidden_size: int
    ffn_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    context_len: int
    norm_eps: float
    rope: Rope
    local_rope: Rope | None = None
    sliding_window: int = 0
    windowed: tuple[bool, ...] = ()
    rotated: tuple[bool, ...] = ()
    attention_scale: float = 0.0
    attention_softcap: float = 0.0
    final_softcap: float = 0.0
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    tied: bool = False
    mixture: Mixture | None = None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies. `shape` is outermost first, in elements; `dtype` is the file format's own name for it.

    GGUF names: ``F32``, ``BF16``, ``Q4_1``, …; safetensors names: ``F32``, ``BF16``, ``I32``, …
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files, read as far as their headers.

    Attributes:
        name: what the model is called here.
        path: the GGUF file, or the folder of a Hugging Face model.
        format: the container.
        spec: None if the architecture is not one that `native` could describe; libllama may still run it.
        tensors: by the file's own names.
        metadata: GGUF keys and values, or `config.json` as it is.
        quantization: the format's own settings (bits, group size, …) where tensors need them; empty for none.
    """

    name: str
    path: Path
    format: Literal["gguf", "safetensors"]
    spec: ModelSpec | None
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        return sum(tensor.num_bytes for tensor in self.tensors.values())


@dataclass(frozen=True, slots=True)
class AdaptedModule:
    """What an adapter adds to one matrix of a model: weight + scale · up · down.

    Attributes:
        name: the module's, as Hugging Face calls it: ``model.layers.0.self_attn.q_proj``.
        down: [rank, inputs]; up: [outputs, rank].
    """

    name: str
    down: TensorInfo
    up: TensorInfo
    scale: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter (Hu et al. 2021), its files read as far as their headers.

    Attributes:
        name: what it is called here.
        path: its folder.
        base: the model that it says it was made for; empty if it does not say.
    """

    name: str
    path: Path
    base: str
    modules: tuple[AdaptedModule, ...]

    @property
    def num_bytes(self) -> int:
        return sum(module.down.num_bytes + module.up.num_bytes for module in self.modules)
