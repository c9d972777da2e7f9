"""What a device can do, and what each kernel makes of it: seconds of device time, and shares of what was measured there.

Runs on any device that torch has; numbers mean something on an NVIDIA card. Weights are rotated among copies that together
are larger than any cache. Imports NumPy, torch and the kernels, and nothing else, so that it runs on a bare machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from publican.bench.shapes import copied_weight, parse_format, random_matrix
from publican.executors.native.batch import Batch
from publican.executors.native.cuda.inputs import BlockSizes, Inputs
from publican.executors.native.cuda.operations import Heads, Operations, Pages, RowNorm, Scores
from publican.executors.native.cuda.packing import Packer, Weight

Progress = Callable[[str], None]
_PAGE_LEN = 16


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """What is measured.

    Attributes:
        device: torch's name; kernels: ``triton`` or ``torch``.
        formats: as `shapes.parse_format` reads them.
        matrices: (outputs, inputs) of each.
        rows: activations at once.
        attention: (sequences, tokens held) of decoding steps; heads: (query heads, key-value heads, head_dim).
        copy_bytes, matmul_size: of the two things that the machine is measured by.
        cache_bytes: copies of a weight add up to this at least.
    """

    device: str = "cuda"
    kernels: str = "triton"
    formats: tuple[str, ...] = ("bf16", "gptq-4-128", "gptq-4-32", "gptq-3-128", "gptq-8-128", "gptq-2-64", "exl2-4.5")
    matrices: tuple[tuple[int, int], ...] = ((4096, 4096), (22016, 4096), (4096, 11008))
    rows: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 256, 2048)
    attention: tuple[tuple[int, int], ...] = ((1, 128), (1, 2048), (1, 8192), (16, 2048), (64, 2048), (16, 8192))
    heads: tuple[int, int, int] = (32, 8, 128)
    copy_bytes: int = 1 << 30
    matmul_size: int = 8192
    cache_bytes: int = 1 << 28


TINY = KernelConfig("cpu", "torch", ("bf16", "gptq-4-32"), ((96, 128),), (1, 5), ((2, 40),), (4, 2, 16), 1 << 20, 64, 1 << 14)
"""For trying the bench itself."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Measured: bytes copied per second, read and written counted, and bfloat16 operations per second of a large product."""

    device: str
    bytes_per_s: float
    flops_per_s: float


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One measurement. `floor_s` is what the bytes that must move, or the operations, take at the measured rates."""

    name: str
    case: str
    seconds: float
    floor_s: float

    @property
    def share(self) -> float:
        return self.floor_s / self.seconds


class Timer:
    """Seconds of device time for each of a row of calls: captured as a graph where that is possible, so that launching does
    not count."""

    def __init__(self, device: torch.device, repeats: int = 5) -> None:
        self.device = device
        self._repeats = repeats

    def seconds(self, calls: Sequence[Callable[[], Any]]) -> float:
        """Median of the repeats, per call."""
        for call in calls:
            call()
        if self.device.type != "cuda":
            return statistics.median(self._by_clock(calls) for _ in range(self._repeats)) / len(calls)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for call in calls:
                call()
        graph.replay()
        return statistics.median(self._by_events(graph) for _ in range(self._repeats)) / len(calls)

    def _by_clock(self, calls: Sequence[Callable[[], Any]]) -> float:
        begin = time.perf_counter()
        for call in calls:
            call()
        return time.perf_counter() - begin

    def _by_events(self, graph: Any) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3


def measure_ceilings(config: KernelConfig) -> Ceilings:
    """What the device can do at best, by torch's own copy and product, on random numbers."""
    device = torch.device(config.device)
    timer = Timer(device)
    source = torch.randint(0, 256, (config.copy_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = timer.seconds([partial(target.copy_, source)] * 4)
    del source, target
    size = config.matmul_size
    a, b = (torch.randn((size, size), device=device).to(torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    product_s = timer.seconds([partial(torch.mm, a, b, out=product)] * 4)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
    return Ceilings(name, 2 * config.copy_bytes / copy_s, 2 * size**3 / product_s)


def time_kernels(config: KernelConfig, ops: Operations, ceilings: Ceilings, tell: Progress) -> list[KernelTime]:
    """Every kernel in every case."""
    with torch.no_grad():
        times: list[KernelTime] = []
        for name in config.formats:
            for shape in config.matrices:
                tell(f"{name} {shape[0]}×{shape[1]}")
                times += _time_matrix(config, ops, ceilings, name, shape)
        for case in config.attention:
            tell(f"attention {case[0]} × {case[1]}")
            times.append(_time_attention(config, ops, ceilings, case))
        return [*times, *_time_rows(config, ops, ceilings)]


def _time_matrix(
    config: KernelConfig, ops: Operations, ceilings: Ceilings, name: str, shape: tuple[int, int]
) -> list[KernelTime]:
    device = torch.device(config.device)
    matrix = random_matrix(np.random.default_rng(0), shape, parse_format(name))
    weight = Packer(device, torch.bfloat16, False).pack(matrix)
    count = max(2, min(64, -(-config.cache_bytes // weight.num_bytes)))
    copies: list[Weight] = [weight, *(copied_weight(weight) for _ in range(count - 1))]
    times = []
    for rows in config.rows:
        x = torch.randn((rows, shape[1]), device=device).to(torch.bfloat16)
        y = torch.empty((rows, shape[0]), dtype=torch.bfloat16, device=device)
        calls = [partial(ops.linear, x, each, None, y) for each in copies]
        seconds = Timer(device).seconds(calls[:4] if rows > 64 else calls)
        moved = weight.num_bytes + 2 * rows * sum(shape)
        floor_s = max(moved / ceilings.bytes_per_s, 2 * rows * shape[0] * shape[1] / ceilings.flops_per_s)
        times.append(KernelTime(f"{name} {shape[0]}×{shape[1]}", f"{rows} rows", seconds, floor_s))
    return times


def _time_attention(config: KernelConfig, ops: Operations, ceilings: Ceilings, case: tuple[int, int]) -> KernelTime:
    device, heads = torch.device(config.device), Heads(*config.heads)
    num_sequences, num_held = case
    batch = decoding_batch(num_sequences, num_held)
    shape = int(batch.pages.max()) + 1, heads.num_kv, _PAGE_LEN, heads.dim
    one = 2 * 2 * num_sequences * num_held * heads.num_kv * heads.dim
    count = max(1, min(8, config.cache_bytes // one))
    pages = [Pages(*(torch.randn(shape, device=device).to(torch.bfloat16) for _ in range(2))) for _ in range(count)]
    qkv = torch.randn((num_sequences, (heads.num_q + 2 * heads.num_kv) * heads.dim), device=device).to(torch.bfloat16)
    dst = torch.empty((num_sequences, heads.num_q * heads.dim), dtype=torch.bfloat16, device=device)
    sizes = BlockSizes(*ops.block_sizes(heads))
    inputs = Inputs([device], (num_sequences, num_sequences, batch.pages.shape[1]), sizes).send(batch)[0]
    scores = Scores(heads.dim**-0.5)
    calls = [partial(ops.attend, qkv, each, inputs, heads, scores, dst) for each in pages]
    seconds = Timer(device).seconds(calls)
    return KernelTime("attention", f"{num_sequences} × {num_held:,} held", seconds, one / ceilings.bytes_per_s)


def _time_rows(config: KernelConfig, ops: Operations, ceilings: Ceilings) -> list[KernelTime]:
    device = torch.device(config.device)
    width = config.matrices[0][1]
    times = []
    for rows in config.rows:
        x = torch.randn((rows, width), device=device)
        y = torch.randn((1, rows, width), device=device).to(torch.bfloat16)
        dst, weight = torch.empty_like(y[0]), torch.ones(width, device=device)
        norm = RowNorm(weight, 1e-5, dst)
        seconds = Timer(device).seconds([partial(ops.add, y, None, 1.0, x, norm)] * 16)
        times.append(KernelTime("add and norm", f"{rows} rows", seconds, rows * width * 12 / ceilings.bytes_per_s))
        both, gated = torch.cat([y[0], y[0]], 1), torch.empty_like(y[0])
        seconds = Timer(device).seconds([partial(ops.gate, both, "silu", gated)] * 16)
        times.append(KernelTime("gate", f"{rows} rows", seconds, rows * width * 6 / ceilings.bytes_per_s))
    return times


def decoding_batch(num_sequences: int, num_held: int, seed: int = 0) -> Batch:
    """A token for each of so many sequences that hold `num_held` with it, on pages in no order."""
    pages_each = -(-num_held // _PAGE_LEN)
    order = np.random.default_rng(seed).permutation(num_sequences * pages_each).astype(np.int32)
    rows = np.arange(num_sequences, dtype=np.int32)
    past = np.full(num_sequences, num_held - 1, np.int32)
    ones = np.ones(num_sequences, np.int32)
    return Batch(rows, past, rows, rows, ones, past, order.reshape(num_sequences, pages_each), rows, np.empty(0, np.int32))
