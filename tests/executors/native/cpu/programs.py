"""Random programs with every kind of operation and of weight, and executors to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from publican.core.executor import ExecutorInfo, Pages
from publican.executors.native.batch import Backend
from publican.executors.native.cpu.backend import CpuBackend
from publican.executors.native.cpu.config import CpuConfig
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.layout import DenseMatrix, Matrix
from publican.executors.native.plain.backend import PlainBackend
from publican.executors.native.program import (
    Add,
    Attend,
    Embed,
    Expert,
    Experts,
    GatedLinear,
    Linear,
    Logits,
    LowRank,
    Norm,
    Op,
    Program,
    RopeTable,
    StoreKV,
)
from tests.executors.native.cpu.harness import random_quantised, to_bf16

VOCAB, CONTEXT = 75, 640
MAX_TOKENS, MAX_LOGITS, NUM_SLOTS, PAGE_LEN = 128, 128, 6, 32
Weights = Callable[[np.random.Generator, int, int], Matrix]


def q4(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return _scaled(random_quantised(rng, n, [(4, 32, k)]), k)


def q6(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return _scaled(random_quantised(rng, n, [(6, 16, k)]), k)


def ordered(rng: np.random.Generator, n: int, k: int) -> Matrix:
    """As EXL2 has it: several widths, inputs in an order of their own."""
    return _scaled(random_quantised(rng, n, [(8, 32, k // 4), (4, 32, k - k // 4)], ordered=True), k)


def bf16(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return DenseMatrix((to_bf16(_values(rng, n, k)).view(np.uint32) >> 16).astype(np.uint16))


def f32(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return DenseMatrix(_values(rng, n, k))


def mixed(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return [q4, q6, ordered, bf16, f32][int(rng.integers(5))](rng, n, k)


def _values(rng: np.random.Generator, n: int, k: int) -> Any:
    return (rng.standard_normal((n, k)) / np.sqrt(k)).astype(np.float32)


def _scaled(matrix: Any, k: int) -> Matrix:
    """About as large as a trained model's: rows that neither fade nor explode."""
    for segment in matrix.segments:
        factor = np.float32(12.0 / (2**segment.bits * 0.055 * np.sqrt(k) * 3.5))
        segment.scales[:] *= factor
        segment.offsets[:] = -segment.scales * np.float32((2**segment.bits - 1) / 2)
    return matrix  # type: ignore[no-any-return]


def make_program(weights: Weights, seed: int = 0, tied: bool = True, style: str = "llama", layers: int = 2) -> Program:
    """`style`: ``llama``; ``gemma`` has norms on both sides, windows, caps and GELU; ``separate`` has q, k and v apart;
    ``mixture`` has experts, and in its last layer one that every row goes through."""
    heads, kv_heads, head_dim, hidden, ffn = (6, 2, 32, 96, 160) if style != "gemma" else (4, 1, 48, 64, 104)
    width = (heads + 2 * kv_heads) * head_dim
    rng = np.random.default_rng(seed)
    angles = np.outer(np.arange(CONTEXT), 1.0 / 1e4 ** (np.arange(head_dim // 2) / (head_dim // 2)))
    rope = RopeTable(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
    buffers = {
        "x": hidden, "normed": hidden, "branch": hidden, "qkv": width, "attended": heads * head_dim, "ffn": ffn,
    }  # fmt: skip
    shape = heads, kv_heads, head_dim, hidden, ffn
    ops = tuple(_ops(weights, rng, shape, tied, style, layers))
    return Program(ops, buffers, (rope,), layers, heads, kv_heads, head_dim, hidden, VOCAB, CONTEXT)


def _ops(weights: Weights, rng: Any, shape: Any, tied: bool, style: str, layers: int) -> Iterator[Op]:
    heads, kv_heads, head_dim, hidden, ffn = shape
    gemma = style == "gemma"

    def norm(size: int) -> Any:
        return rng.uniform(0.5, 1.5, size).astype(np.float32)

    table = weights(rng, VOCAB, hidden)
    yield Embed("x", table, 4.0)
    for layer in range(layers):
        yield Norm("x", "normed", norm(hidden), 1e-5)
        q, kv = heads * head_dim, kv_heads * head_dim
        if style == "separate":
            for n, column in ((q, 0), (kv, q), (kv, q + kv)):
                yield Linear("normed", "qkv", weights(rng, n, hidden), norm(n), column=column)
        else:
            yield Linear("normed", "qkv", weights(rng, q + 2 * kv, hidden))
        normed = style == "gemma"
        yield StoreKV("qkv", layer, 0, norm(head_dim) if normed else None, norm(head_dim) if normed else None, 1e-5)
        yield Attend("qkv", "attended", layer, head_dim**-0.5, 20 if gemma and layer else 0, 8.0 if gemma else 0.0)
        yield from _back("attended", weights(rng, hidden, q), gemma, norm(hidden))
        yield Norm("x", "normed", norm(hidden), 1e-5)
        if style == "mixture":
            yield from mixture(weights, rng, hidden, "normed", shared=ffn if layer == layers - 1 else 0)
            yield Add("branch", "x", 0.7)
            continue
        activation: Any = "gelu_tanh" if gemma else "silu"
        yield GatedLinear("normed", "ffn", weights(rng, ffn, hidden), weights(rng, ffn, hidden), activation)
        yield from _back("ffn", weights(rng, hidden, ffn), gemma, norm(hidden))
    output = table if tied else weights(rng, VOCAB, hidden)
    yield Logits("x", norm(hidden), 1e-5, output, 0.5, 10.0 if gemma else 0.0)


def mixture(weights: Weights, rng: Any, hidden: int, src: str, shared: int = 0, activation: Any = "silu") -> Iterator[Op]:
    """Seven experts of 72, three for each row, into ``branch``; `shared` is the width of one that every row goes through."""
    if shared:
        yield GatedLinear(src, "ffn", weights(rng, shared, hidden), weights(rng, shared, hidden), activation)
        yield Linear("ffn", "branch", weights(rng, hidden, shared))
    router, gate = (rng.standard_normal(shape).astype(np.float32) for shape in ((7, hidden), hidden))
    experts = tuple(Expert(weights(rng, 72, hidden), weights(rng, 72, hidden), weights(rng, hidden, 72)) for _ in range(7))
    normalised = not shared
    ends: dict[str, Any] = {"shared": "branch", "shared_gate": gate / np.float32(np.sqrt(hidden))} if shared else {}
    yield Experts(src, "branch", router, experts, 3, 72, normalised, activation, **ends)


def _back(src: str, weight: Matrix, gemma: bool, norm: Any) -> Iterator[Op]:
    if not gemma:
        yield Linear(src, "x", weight, None, add=True, scale=0.7)
        return
    yield Linear(src, "branch", weight)
    yield Norm("branch", "branch", norm, 1e-5)
    yield Add("branch", "x", 0.7)


def with_adapters(program: Program, num_adapters: int = 3, seed: int = 0) -> Program:
    """`program` with random adapters: of odd ranks, from odd columns on, in every type, each for some layers only."""
    rng = np.random.default_rng(seed)

    def added(weight: Matrix) -> tuple[LowRank, ...]:
        return tuple(each for adapter in range(num_adapters) for each in _low_ranks(rng, adapter, *weight.shape))

    def adapted(op: Op) -> Op:
        if isinstance(op, Linear):
            return replace(op, adapters=added(op.weight))
        if isinstance(op, GatedLinear):
            gate, up = added(op.gate), added(op.up)
            shared: tuple[LowRank, ...] = ()
            if gate and up:  # as where an adapter has gate and up in one
                both = f32_of(rng, up[0].up.shape[0], gate[0].down.shape[0])
                shared = (replace(gate[0], up=both, column=up[0].column),)
            return replace(op, gate_adapters=gate, up_adapters=(*shared, *up))
        return op

    return replace(program, ops=tuple(map(adapted, program.ops)), num_adapters=num_adapters)


def f32_of(rng: np.random.Generator, n: int, k: int) -> DenseMatrix:
    return DenseMatrix(_values(rng, n, k))


def _low_ranks(rng: np.random.Generator, adapter: int, n: int, k: int) -> Iterator[LowRank]:
    """None, one, or two that share outputs."""
    for _ in range(int(rng.integers(3))):
        rank, column = int(rng.choice([1, 4, 16, 21])), int(rng.integers(n // 2))
        down, up = f32_of(rng, rank, k).values, f32_of(rng, int(rng.integers(1, n - column + 1)), rank).values
        kind = rng.integers(3)
        if kind:
            down, up = (_as_half(values, bool(kind == 1)) for values in (down, up))
        yield LowRank(adapter, DenseMatrix(down), DenseMatrix(up), float(rng.uniform(-2, 2)), column)


def _as_half(values: Any, bfloat: bool) -> Any:
    return (to_bf16(values).view(np.uint32) >> 16).astype(np.uint16) if bfloat else values.astype(np.float16)


def executor_of(backend: Backend, program: Program, page_len: int = PAGE_LEN) -> NativeExecutor:
    memory = Pages(page_len, NUM_SLOTS * CONTEXT // page_len)
    measures = program.vocab_size, CONTEXT, NUM_SLOTS, MAX_TOKENS, MAX_LOGITS, memory, program.hidden_size
    info = ExecutorInfo("native", "", *measures, num_adapters=program.num_adapters)
    return NativeExecutor(info, backend)


def plain(program: Program) -> NativeExecutor:
    return executor_of(PlainBackend(program, NUM_SLOTS * CONTEXT // PAGE_LEN, PAGE_LEN), program)


def cpu(program: Program, config: CpuConfig) -> NativeExecutor:
    backend = CpuBackend(program, (NUM_SLOTS * CONTEXT // PAGE_LEN, 0), PAGE_LEN, MAX_TOKENS, MAX_LOGITS, config)
    return executor_of(backend, program)


def kl(expected: Any, got: Any) -> Any:
    """Kullback-Leibler divergence of each row."""
    logs = []
    for logits in (expected, got):
        wide = np.asarray(logits, np.float64)
        wide = wide - wide.max(-1, keepdims=True)
        logs.append(wide - np.log(np.exp(wide).sum(-1, keepdims=True)))
    return (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1)
