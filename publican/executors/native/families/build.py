"""Makes the program of a model: what each layer does, in order, from its spec, its family and its weights.

A program made here reads its weights while a backend goes through its operations, one layer at a time. Loading thread.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from publican.core.model import Mixture, ModelSpec
from publican.executors.native.adapters import Adapters
from publican.executors.native.families.additions import Additions, cut
from publican.executors.native.families.family import Family, Role
from publican.executors.native.layout import Matrix, dequantise, stack, take_outputs
from publican.executors.native.program import (
    Add,
    Attend,
    Embed,
    Expert,
    Experts,
    Floats,
    GatedLinear,
    Linear,
    Logits,
    Norm,
    Op,
    Program,
    RopeTable,
    StoreKV,
)
from publican.executors.native.weights import Weights


def build(
    spec: ModelSpec, family: Family, weights: Weights, ropes: tuple[RopeTable, ...], adapters: Adapters | None = None
) -> Program:
    """The program of a model.

    Args:
        ropes: the tables of `spec.rope` and, where the spec has one, of `spec.local_rope`, as long as the loaded context.

    Raises (while its operations are gone through):
        ModelFileError, UnsupportedModel
    """
    context_len = len(ropes[0].cos)
    widths = _Widths.of(spec)
    additions = Additions(adapters, spec)
    return Program(
        ops=_Operations(spec, family, weights, context_len, additions),
        buffers={
            "x": spec.hidden_size,
            "normed": spec.hidden_size,
            "branch": spec.hidden_size,
            "qkv": widths.q + 2 * widths.kv,
            "attended": widths.q,
            **_inner_widths(spec),
        },
        ropes=ropes,
        num_layers=spec.num_layers,
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        hidden_size=spec.hidden_size,
        vocab_size=spec.vocab_size,
        context_len=context_len,
        windows=tuple(_window(spec, layer, context_len) for layer in range(spec.num_layers)),
        num_adapters=0 if adapters is None else len(adapters),
    )


@dataclass(frozen=True, slots=True)
class _Widths:
    """Outputs of the query, and of the key or value projection."""

    q: int
    kv: int

    @classmethod
    def of(cls, spec: ModelSpec) -> _Widths:
        return cls(spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim)


def _inner_widths(spec: ModelSpec) -> dict[str, int]:
    """Of what lies between the two halves of a feed-forward layer, and of the expert that every token goes through."""
    mixture = spec.mixture
    if mixture is None:
        return {"ffn": spec.ffn_size}
    shared = {"shared": mixture.shared_ffn_size} if mixture.shared_ffn_size else {}
    return shared if all(map(mixture.has, range(spec.num_layers))) else {"ffn": spec.ffn_size, **shared}


def _window(spec: ModelSpec, layer: int, context_len: int) -> int:
    """How far back a layer looks; 0 where that is everything."""
    has_window = not spec.windowed or spec.windowed[layer]
    return spec.sliding_window if has_window and spec.sliding_window < context_len else 0


@dataclass(frozen=True, slots=True)
class _Operations:
    """The operations of a model, made as they are asked for."""

    spec: ModelSpec
    family: Family
    weights: Weights
    context_len: int
    additions: Additions

    def __iter__(self) -> Iterator[Op]:
        spec = self.spec
        shape = spec.vocab_size, spec.hidden_size
        table = self.weights.matrix("embedding", shape)
        yield Embed("x", table, spec.embedding_scale)
        output = table if spec.tied else None
        del table
        for layer in range(spec.num_layers):
            yield from self._attention(layer)
            if spec.mixture is not None and spec.mixture.has(layer):
                yield from self._mixture(spec.mixture, layer)
            else:
                yield from self._feed_forward(layer)
        output = output or self.weights.matrix("output", shape)
        yield Logits("x", self._norm("final_norm"), spec.norm_eps, output, spec.logit_scale, spec.final_softcap)

    def _attention(self, layer: int) -> Iterator[Op]:
        spec, per_head = self.spec, self.family.qk_norm == "head"
        widths = _Widths.of(spec)
        src = "x"
        if self.family.pre_norm:
            src = "normed"
            yield Norm("x", src, self._norm("attn_norm", layer), spec.norm_eps)
        yield from self._project(src, layer)
        q_norm = k_norm = None
        if self.family.qk_norm != "none":
            q_norm = self._norm("q_norm", layer, spec.head_dim if per_head else widths.q)
            k_norm = self._norm("k_norm", layer, spec.head_dim if per_head else widths.kv)
        yield StoreKV("qkv", layer, self._rope_of(layer), q_norm, k_norm, spec.norm_eps)
        scale = spec.attention_scale or spec.head_dim**-0.5
        yield Attend("qkv", "attended", layer, scale, _window(spec, layer, self.context_len), spec.attention_softcap)
        yield from self._add_back("attended", "o", "attn_post_norm", widths.q, layer)

    def _feed_forward(self, layer: int) -> Iterator[Op]:
        spec = self.spec
        src = yield from self._ffn_source(layer)
        gate, up = self._gate_and_up(layer)
        yield GatedLinear(src, "ffn", gate, up, self.family.activation, *self.additions.gate_and_up(layer))
        del gate, up
        yield from self._add_back("ffn", "down", "ffn_post_norm", spec.ffn_size, layer)

    def _ffn_source(self, layer: int) -> Generator[Op, None, str]:
        """The buffer that a feed-forward block reads."""
        if not self.family.pre_norm:
            return "x"
        yield Norm("x", "normed", self._norm("ffn_norm", layer), self.spec.norm_eps)
        return "normed"

    def _mixture(self, mixture: Mixture, layer: int) -> Iterator[Op]:
        spec, activation, hidden_size = self.spec, self.family.activation, self.spec.hidden_size
        src = yield from self._ffn_source(layer)
        shared_gate = None
        if shared := mixture.shared_ffn_size:
            gate, up = (self.weights.matrix(role, (shared, hidden_size), layer) for role in ("shared_gate", "shared_up"))
            yield GatedLinear(src, "shared", gate, up, activation)
            del gate, up
            yield Linear("shared", "branch", self.weights.matrix("shared_down", (hidden_size, shared), layer))
            shared_gate = self.weights.row("shared_router", hidden_size, layer)
        router = dequantise(self.weights.matrix("router", (mixture.num_experts, hidden_size), layer))
        yield Experts(
            src,
            "branch",
            router,
            _Layer(self.weights, layer, mixture, hidden_size),
            mixture.num_experts_per_token,
            mixture.ffn_size,
            mixture.norm_topk_prob,
            activation,
            "branch" if shared else "",
            shared_gate,
        )
        if self.family.post_norm:
            yield Norm("branch", "branch", self._norm("ffn_post_norm", layer), spec.norm_eps)
        yield Add("branch", "x", spec.residual_scale)

    def _add_back(self, src: str, role: Role, norm: Role, num_inputs: int, layer: int) -> Iterator[Op]:
        """From a block back to the residual stream."""
        spec = self.spec
        weight = self.weights.matrix(role, (spec.hidden_size, num_inputs), layer)
        bias = self.weights.bias(role, spec.hidden_size, layer)
        added = self.additions.of(role, layer)
        if not self.family.post_norm:
            yield Linear(src, "x", weight, bias, add=True, scale=spec.residual_scale, adapters=added)
            return
        yield Linear(src, "branch", weight, bias, adapters=added)
        yield Norm("branch", "branch", self._norm(norm, layer), spec.norm_eps)
        yield Add("branch", "x", spec.residual_scale)

    def _project(self, src: str, layer: int) -> Iterator[Op]:
        """q, k and v side by side: one matrix where the file or the formats allow."""
        widths, hidden_size = _Widths.of(self.spec), self.spec.hidden_size
        added = self.additions.qkv(layer)
        if self.weights.has("qkv", layer):
            width = widths.q + 2 * widths.kv
            fused = self.weights.matrix("qkv", (width, hidden_size), layer)
            yield Linear(src, "qkv", fused, self.weights.bias("qkv", width, layer), adapters=added)
            return
        roles: tuple[tuple[Role, int], ...] = (("q", widths.q), ("k", widths.kv), ("v", widths.kv))
        parts = [self._heads(role, (width, hidden_size), layer) for role, width in roles]
        stacked = stack([weight for weight, _ in parts])
        if stacked is not None:
            bias = None
            if any(b is not None for _, b in parts):
                bias = np.concatenate([np.zeros(w.shape[0], np.float32) if b is None else b for w, b in parts])
            del parts
            yield Linear(src, "qkv", stacked, bias, adapters=added)
            return
        column = 0
        for weight, bias in parts:
            end = column + weight.shape[0]
            yield Linear(src, "qkv", weight, bias, column=column, adapters=cut(added, column, end))
            column = end

    def _heads(self, role: Role, shape: tuple[int, int], layer: int) -> tuple[Matrix, Floats | None]:
        """One of q, k and v, its outputs in the order that rotation here expects."""
        weight = self.weights.matrix(role, shape, layer)
        bias = self.weights.bias(role, shape[0], layer)
        if role == "v" or not (self.weights.is_gguf and self.family.gguf_interleaved):
            return weight, bias
        half = self.spec.head_dim // 2
        order = np.arange(shape[0]).reshape(-1, half, 2).swapaxes(1, 2).reshape(-1)
        return take_outputs(weight, order), None if bias is None else bias[order]

    def _gate_and_up(self, layer: int) -> tuple[Matrix, Matrix]:
        ffn_size, hidden_size = self.spec.ffn_size, self.spec.hidden_size
        if self.weights.has("gate_up", layer):
            both = self.weights.matrix("gate_up", (2 * ffn_size, hidden_size), layer)
            return take_outputs(both, slice(ffn_size)), take_outputs(both, slice(ffn_size, None))
        shape = ffn_size, hidden_size
        return self.weights.matrix("gate", shape, layer), self.weights.matrix("up", shape, layer)

    def _norm(self, role: Role, layer: int = 0, length: int = 0) -> Floats:
        weight = self.weights.vector(role, length or self.spec.hidden_size, layer)
        return weight if self.weights.is_gguf else weight + np.float32(self.family.norm_shift)

    def _rope_of(self, layer: int) -> int:
        spec = self.spec
        if spec.rotated and not spec.rotated[layer]:
            return -1
        return int(spec.local_rope is not None and bool(spec.windowed) and spec.windowed[layer])


@dataclass(frozen=True, slots=True)
class _Layer:
    """The experts of a layer, each read when it is asked for."""

    weights: Weights
    layer: int
    mixture: Mixture
    hidden_size: int

    def __iter__(self) -> Iterator[Expert]:
        wide, narrow = (self.mixture.ffn_size, self.hidden_size), (self.hidden_size, self.mixture.ffn_size)
        for expert in range(self.mixture.num_experts):
            yield Expert(
                self.weights.matrix("expert_gate", wide, self.layer, expert),
                self.weights.matrix("expert_up", wide, self.layer, expert),
                self.weights.matrix("expert_down", narrow, self.layer, expert),
            )
