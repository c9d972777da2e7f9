"""How long experts take beside the same matrices as dense layers, and what looking at many of them costs each step.

    python -m tests.executors.native.cpu.measure_mixture

Two layers of 64 experts, eight of them for each row, against sixteen dense layers: the same work where all rows choose alike,
as they do here. Shapes are Qwen3-30B-A3B's, in 4 bits; best of eight runs each, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from publican.core.model import Rope
from publican.executors.native.batch import Batch
from publican.executors.native.cpu.backend import CpuBackend
from publican.executors.native.cpu.config import CpuConfig
from publican.executors.native.program import (
    Add,
    Attend,
    Embed,
    Expert,
    Experts,
    GatedLinear,
    Linear,
    Logits,
    Norm,
    Op,
    Program,
    StoreKV,
)
from publican.executors.native.rope import rope_table
from tests.executors.native.cpu.harness import random_quantised


def program(num_layers: int, num_experts: int, hidden: int, inner: int) -> Program:
    """One layer of attention, then mixtures of experts, or with no experts dense layers."""
    rng = np.random.default_rng(0)

    def weight(outputs: int, inputs: int) -> Any:
        return random_quantised(rng, outputs, [(4, 32, inputs)])

    def ops() -> Iterator[Op]:
        ones = np.ones(hidden, np.float32)
        yield Embed("x", weight(64, hidden))
        yield Linear("x", "qkv", weight(96, hidden))
        yield StoreKV("qkv", 0, 0)
        yield Attend("qkv", "attended", 0, 0.2)
        for _ in range(num_layers):
            yield Norm("x", "normed", ones, 1e-5)
            if num_experts:
                one = Expert(weight(inner, hidden), weight(inner, hidden), weight(hidden, inner))
                router = rng.standard_normal((num_experts, hidden)).astype(np.float32)
                yield Experts("normed", "branch", router, [one] * num_experts, 8, inner)
                yield Add("branch", "x", 0.01)
            else:
                yield GatedLinear("normed", "ffn", weight(inner, hidden), weight(inner, hidden))
                yield Linear("ffn", "x", weight(hidden, inner), add=True, scale=0.01)
        yield Logits("x", ones, 1e-5, weight(64, hidden))

    widths = {"x": hidden, "normed": hidden, "branch": hidden, "qkv": 96, "attended": 32, "ffn": inner}
    return Program(ops(), widths, (rope_table(Rope(1e4, 32), 64),), 1, 1, 1, 32, hidden, 64, 64)


def batch(num_rows: int) -> Batch:
    """One sequence from its beginning, every token the same; none at all for no rows."""
    rows, zeros = np.arange(num_rows, dtype=np.int32), np.zeros(num_rows, np.int32)
    some = min(num_rows, 1)
    pages = np.arange(max(1, -(-num_rows // 16)), dtype=np.int32)[None].repeat(some, 0)
    lengths = np.full(some, num_rows, np.int32)
    return Batch(zeros, rows, zeros, zeros[:some], lengths, zeros[:some], pages, rows[-some:] if some else rows, rows[:0])


def best_ms(backend: CpuBackend, num_rows: int) -> float:
    taken = []
    for _ in range(8):
        start = time.perf_counter()
        backend.run(batch(num_rows))
        taken.append(time.perf_counter() - start)
    return min(taken) * 1e3


def main() -> None:
    many = CpuBackend(program(48, 128, 32, 32), (8, 0), 16, 64, 8, CpuConfig(2))
    print(f"a step of no rows, 48 layers of 128 experts: {best_ms(many, 0):.2f} ms")
    many.close()
    backends = [CpuBackend(program(*shape, 2048, 768), (8, 0), 16, 64, 8, CpuConfig(2)) for shape in ((2, 64), (16, 0))]
    for num_rows in (1, 4, 8, 16, 64):
        taken = [[best_ms(backend, num_rows) for backend in backends] for _ in range(3)]
        experts, dense = (min(column) for column in zip(*taken, strict=True))
        print(f"{num_rows} rows: experts {experts:.2f} ms, dense {dense:.2f} ms, {experts / dense:.2f}")
    for backend in backends:
        backend.close()


if __name__ == "__main__":
    main()
