"""One function for each operation of `native.program`, whose docstrings say what they compute. M rows of tokens in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from publican.executors.native.batch import Batch, Ints
from publican.executors.native.kv_codes import mix
from publican.executors.native.layout import DenseMatrix, Matrix
from publican.executors.native.plain.cache import KVCache
from publican.executors.native.program import (
    Activation,
    Add,
    Attend,
    Embed,
    Expert,
    Experts,
    Floats,
    GatedLinear,
    KVPlace,
    Linear,
    Logits,
    LowRank,
    Norm,
    Program,
    RopeTable,
    StoreKV,
)


@dataclass(slots=True)
class Step:
    """What the operations of one step work on. `logits` and `hidden` are there after `Logits`."""

    program: Program
    batch: Batch
    cache: KVCache
    buffers: dict[str, Floats]
    windowed_cache: KVCache | None = None
    places: tuple[KVPlace, ...] = ()
    logits: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))
    hidden: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def held(self, layer: int) -> tuple[KVCache, int, Ints]:
        """Where a layer's keys and values are: the cache, the layer's number there, and the page tables [S, P]."""
        place = self.places[layer] if self.places else KVPlace(False, layer)
        if not place.is_windowed:
            return self.cache, place.number, self.batch.pages
        assert self.windowed_cache is not None
        assert self.batch.windowed_pages is not None
        return self.windowed_cache, place.number, self.batch.windowed_pages


def _values(matrix: Matrix) -> Floats:
    """The numbers [N, K] of a weight, every one of which the backend has made float32."""
    assert isinstance(matrix, DenseMatrix)
    return cast(Floats, matrix.values)


def _rms_norm(x: Floats, weight: Floats, eps: float) -> Floats:
    mean_square = np.mean(x * x, axis=-1, keepdims=True)
    return cast(Floats, x / np.sqrt(mean_square + np.float32(eps)) * weight)


def embed(op: Embed, step: Step) -> None:
    step.buffers[op.dst][:] = _values(op.table)[step.batch.tokens] * np.float32(op.scale)


def norm(op: Norm, step: Step) -> None:
    step.buffers[op.dst][:] = _rms_norm(step.buffers[op.src], op.weight, op.eps)


def _product(x: Floats, weight: Matrix, adapters: tuple[LowRank, ...], batch: Batch) -> Floats:
    """weight · x, with what the adapters of the rows add."""
    y = cast(Floats, x @ _values(weight).T)
    if batch.adapters is None:
        return y
    of_row = batch.adapters[batch.owners]
    for low_rank in adapters:
        rows = np.flatnonzero(of_row == low_rank.adapter)
        added = x[rows] @ _values(low_rank.down).T @ _values(low_rank.up).T
        y[rows, low_rank.column : low_rank.column + added.shape[1]] += np.float32(low_rank.scale) * added
    return y


def linear(op: Linear, step: Step) -> None:
    y = _product(step.buffers[op.src], op.weight, op.adapters, step.batch)
    if op.bias is not None:
        y += op.bias
    if op.add:
        step.buffers[op.dst] += np.float32(op.scale) * y
    else:
        step.buffers[op.dst][:, op.column : op.column + y.shape[1]] = y


def gated_linear(op: GatedLinear, step: Step) -> None:
    x, batch = step.buffers[op.src], step.batch
    gate = _product(x, op.gate, op.gate_adapters, batch)
    step.buffers[op.dst][:] = _activated(gate, op.activation) * _product(x, op.up, op.up_adapters, batch)


def _activated(gate: Floats, activation: Activation) -> Floats:
    return _silu(gate) if activation == "silu" else _gelu_tanh(gate)


def _expert(x: Floats, op: Expert, activation: Activation) -> Floats:
    inner = _activated(x @ _values(op.gate).T, activation) * (x @ _values(op.up).T)
    return cast(Floats, inner @ _values(op.down).T)


def experts(op: Experts, step: Step) -> None:
    x = step.buffers[op.src]
    chosen, weights = route(op, x)
    given = np.empty((*chosen.shape, x.shape[1]), np.float32)  # [M, num_chosen, width]
    for number, expert in enumerate(op.experts):
        rows, places = np.nonzero(chosen == number)
        if len(rows):
            given[rows, places] = _expert(x[rows], expert, op.activation)
    y = (weights[..., None] * given).sum(axis=1)
    if op.shared_gate is not None:
        y += _sigmoid(x @ op.shared_gate)[:, None] * step.buffers[op.shared]
    step.buffers[op.dst][:] = y


def route(op: Experts, x: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Which experts each row goes through, the likeliest first, and their weights; both [M, num_chosen]."""
    scores = x @ op.router.T
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    chosen = np.argsort(-p, axis=-1, kind="stable")[:, : op.num_chosen]
    weights = np.take_along_axis(p, chosen, axis=-1)
    return chosen, weights / weights.sum(axis=-1, keepdims=True) if op.normalised else weights


def _sigmoid(x: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return cast(Floats, 1 / (1 + np.exp(-x)))


def _silu(x: Floats) -> Floats:
    with np.errstate(over="ignore"):  # a very negative x divides by infinity, which is right
        return cast(Floats, x / (1 + np.exp(-x)))


def _gelu_tanh(x: Floats) -> Floats:
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)
    return cast(Floats, np.float32(0.5) * x * (1 + np.tanh(inner)))


def add(op: Add, step: Step) -> None:
    step.buffers[op.dst] += np.float32(op.scale) * step.buffers[op.src]


def store_kv(op: StoreKV, step: Step) -> None:
    program, batch = step.program, step.batch
    q, k, v = _split_heads(step.buffers[op.src], program)
    if op.q_norm is not None:
        q[:] = _norm_heads(q, op.q_norm, op.eps)
    if op.k_norm is not None:
        k[:] = _norm_heads(k, op.k_norm, op.eps)
    if op.rope >= 0:
        _rotate(q, program.ropes[op.rope], batch.positions)
        _rotate(k, program.ropes[op.rope], batch.positions)
    if step.cache.mixes:
        mix(q)
        mix(k)
    cache, number, pages = step.held(op.layer)
    cache.write(number, pages[batch.owners], batch.positions, k, v)


def _split_heads(qkv: Floats, program: Program) -> tuple[Floats, Floats, Floats]:
    """Views [M, heads, head_dim] of q, k and v in the buffer that has them side by side."""
    heads = qkv.reshape(len(qkv), -1, program.head_dim)
    num_q, num_kv = program.num_heads, program.num_kv_heads
    return heads[:, :num_q], heads[:, num_q : num_q + num_kv], heads[:, num_q + num_kv :]


def _norm_heads(x: Floats, weight: Floats, eps: float) -> Floats:
    """Each head alone if the weight is as wide as one, otherwise all heads of a token together."""
    if len(weight) == x.shape[2]:
        return _rms_norm(x, weight, eps)
    return _rms_norm(x.reshape(len(x), -1), weight, eps).reshape(x.shape)


def _rotate(x: Floats, rope: RopeTable, positions: Ints) -> None:
    """Turn pair (i, i + dim / 2) of every head [M, heads, head_dim] by the angle of its position, in place."""
    half = rope.dim // 2
    cos, sin = rope.cos[positions][:, None], rope.sin[positions][:, None]
    first, second = x[..., :half].copy(), x[..., half : 2 * half].copy()
    x[..., :half] = first * cos - second * sin
    x[..., half : 2 * half] = second * cos + first * sin


def attend(op: Attend, step: Step) -> None:
    program, batch = step.program, step.batch
    q, _, _ = _split_heads(step.buffers[op.src], program)
    cache, number, pages = step.held(op.layer)
    for s, (start, length) in enumerate(zip(batch.starts, batch.lengths, strict=True)):
        rows = slice(start, start + length)
        past = int(batch.past[s])
        first_page = max(0, past + 1 - op.window) // cache.page_len if op.window else 0  # what is before may be gone
        first = first_page * cache.page_len
        keys, values = cache.read(number, pages[s, first_page:], past + int(length) - first)
        attended = _attend_one(op, q[rows], keys, values, batch.positions[rows] - first)
        step.buffers[op.dst][rows] = attended.reshape(length, -1)


def _attend_one(op: Attend, q: Floats, keys: Floats, values: Floats, positions: Ints) -> Floats:
    """Attention of one sequence.

    Args:
        q: [m, query heads, head_dim]; a group of neighbouring query heads shares a key-value head.
        keys, values: [T, key-value heads, head_dim].
        positions: [m], of the rows among the T.

    Returns:
        [m, query heads, head_dim]
    """
    num_rows, num_heads, head_dim = q.shape
    num_kv_heads = keys.shape[1]
    q = q.reshape(num_rows, num_kv_heads, -1, head_dim).transpose(1, 2, 0, 3)  # [kv heads, group, m, head_dim]
    scores = np.float32(op.scale) * (q @ keys.transpose(1, 2, 0)[:, None])  # [kv heads, group, m, T]
    if op.softcap:
        scores = np.float32(op.softcap) * np.tanh(scores / np.float32(op.softcap))
    back = positions[:, None] - np.arange(len(keys))
    unseen = back < 0 if not op.window else (back < 0) | (back >= op.window)
    scores[..., unseen] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    attended = weights @ values.transpose(1, 0, 2)[:, None]
    return cast(Floats, attended.transpose(2, 0, 1, 3).reshape(num_rows, num_heads, head_dim))


def logits(op: Logits, step: Step) -> None:
    batch, src = step.batch, step.buffers[op.src]
    normed = _rms_norm(src[batch.logit_rows], op.norm, op.eps)
    y = np.float32(op.scale) * (normed @ _values(op.weight).T)
    step.logits = np.float32(op.softcap) * np.tanh(y / np.float32(op.softcap)) if op.softcap else y
    step.hidden = _rms_norm(src[batch.hidden_rows], op.norm, op.eps)


OPERATIONS: Mapping[type, Callable[[Any, Step], None]] = {
    Embed: embed,
    Norm: norm,
    Linear: linear,
    GatedLinear: gated_linear,
    Experts: experts,
    Add: add,
    StoreKV: store_kv,
    Attend: attend,
    Logits: logits,
}
