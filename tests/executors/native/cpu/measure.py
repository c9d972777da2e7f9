"""Times the `cpu` backend by itself: decode at several batch sizes, prefill, and llama.cpp on the same file in between.

    python tests/executors/native/cpu/measure.py MODEL.gguf [--threads 2] [--activations int8] [--kv bf16] [--variant avx2]
        [--context 512] [--batches 1,4,8,16,32] [--prefill 512] [--llama] [--rounds 3]

Each figure is the median of its steps in a round; rounds go through everything in turn, so that a noisy minute shows in all.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[4]))

from publican.executors.native.batch import Batch
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu.backend import CpuBackend
from publican.executors.native.cpu.config import CpuConfig
from publican.executors.native.loading import describe
from publican.store.checkpoint import open_checkpoint

PAGE_LEN = 16


def batch_of(lengths: list[int], past: list[int], seed: int = 0) -> Batch:
    """Sequences with pages of their own, logits of each one's last token."""
    count = np.array(lengths, np.int32)
    before = np.array(past, np.int32)
    starts = (np.cumsum(count) - count).astype(np.int32)
    pages_each = -(-int((before + count).max()) // PAGE_LEN)
    pages = np.arange(len(lengths) * pages_each, dtype=np.int32).reshape(len(lengths), pages_each)
    owners = np.repeat(np.arange(len(lengths), dtype=np.int32), count)
    positions = (np.arange(count.sum()) - np.repeat(starts - before, count)).astype(np.int32)
    tokens = np.random.default_rng(seed).integers(100, 40_000, count.sum()).astype(np.int32)
    return Batch(tokens, positions, owners, starts, count, before, pages, starts + count - 1, np.empty(0, np.int32))


def median_s(run: Callable[[], object], least: int, seconds: float) -> float:
    run()
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Ours:
    name = "publican"

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        largest = max(args.batches)
        pages = max(largest * (-(-(args.context + 1) // PAGE_LEN) + 1), -(-args.prefill // PAGE_LEN)) + 1
        settings = NativeConfig(context_len=8192, num_pages=max(pages, 512), max_batch_tokens=max(args.prefill, largest))
        start = time.perf_counter()
        program, _, filled = describe(open_checkpoint(args.model), settings)
        config = CpuConfig(num_threads=args.threads, activations=args.activations, kv=args.kv, variant=args.variant)
        self.backend = CpuBackend(program, (filled.num_pages, 0), PAGE_LEN, filled.max_batch_tokens, largest, config)
        print(f"{self.backend.device}, {args.activations}, KV {args.kv}: loaded in {time.perf_counter() - start:.2f} s")
        for first in range(0, args.context, args.prefill):  # real numbers in the cache, not zeros
            for s in range(largest):
                batch = batch_of([min(args.prefill, args.context - first)], [first], seed=s)
                per_sequence = -(-(args.context + 1) // PAGE_LEN)
                mine = np.arange(per_sequence, dtype=np.int32) + s * per_sequence
                self.backend.run(Batch(*[getattr(batch, n) if n != "pages" else mine[None] for n in Batch.__slots__]))

    def decode_s(self, batch_size: int) -> float:
        batch = batch_of([1] * batch_size, [self.args.context] * batch_size)
        return median_s(lambda: self.backend.run(batch), 10, 0.4)

    def prefill_s(self) -> float:
        batch = batch_of([self.args.prefill], [0])
        return median_s(lambda: self.backend.run(batch), 3, 0.8)


class LlamaCpp:
    """llama_decode on batches as llama-batched-bench makes them: a step is one token of each sequence at the context's end."""

    name = "llama.cpp"

    def __init__(self, args: argparse.Namespace) -> None:
        import llama_cpp

        self.lib, self.args = llama_cpp, args
        llama_cpp.llama_log_set(_SILENT, None)
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(str(args.model).encode(), params)
        context = llama_cpp.llama_context_default_params()
        largest = max(args.batches)
        context.n_ctx = largest * (args.context + 64) + args.prefill
        context.n_batch = context.n_ubatch = max(args.prefill, largest)
        context.n_seq_max = largest + 1
        context.kv_unified = True
        context.n_threads = context.n_threads_batch = args.threads or 2
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(max(args.prefill, largest), 0, 1)
        rng = np.random.default_rng(0)
        self.tokens = [int(t) for t in rng.integers(100, 40_000, max(args.context, args.prefill) + 1)]
        for s in range(largest):
            for first in range(0, args.context, args.prefill):
                self._decode([(self.tokens[i], i, s) for i in range(first, min(first + args.prefill, args.context))])

    def _decode(self, rows: list[tuple[int, int, int]], all_logits: bool = False) -> None:
        b = self.batch
        b.n_tokens = len(rows)
        for i, (token, position, sequence) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0] = token, position, 1, sequence
            b.logits[i] = all_logits or i == len(rows) - 1
        assert self.lib.llama_decode(self.context, b) == 0
        self.lib.llama_synchronize(self.context)

    def decode_s(self, batch_size: int) -> float:
        context = self.args.context

        def step() -> None:
            self._decode([(5, context, s) for s in range(batch_size)], all_logits=True)

        def back() -> None:
            for s in range(batch_size):
                self.lib.llama_memory_seq_rm(self.memory, s, context, -1)

        times: list[float] = []
        for _ in range(6):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
            back()
        return statistics.median(times[1:])

    def prefill_s(self) -> float:
        extra = max(self.args.batches)
        times: list[float] = []
        for _ in range(2):
            start = time.perf_counter()
            self._decode([(self.tokens[i], i, extra) for i in range(self.args.prefill)])
            times.append(time.perf_counter() - start)
            self.lib.llama_memory_seq_rm(self.memory, extra, -1, -1)
        return min(times)


def _silence() -> object:
    import ctypes

    import llama_cpp

    return llama_cpp.llama_log_callback(lambda level, text, data: ctypes.c_void_p())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--activations", default="int8")
    parser.add_argument("--kv", default="bf16")
    parser.add_argument("--variant")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 8, 16, 32])
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama", action="store_true")
    args = parser.parse_args()
    runners: list[Ours | LlamaCpp] = [Ours(args)]
    if args.llama:
        runners.append(LlamaCpp(args))
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(args.rounds):
        for batch_size in args.batches:
            for runner in runners:
                found.setdefault((f"decode {batch_size}", runner.name), []).append(runner.decode_s(batch_size))
        for runner in runners:
            found.setdefault((f"prefill {args.prefill}", runner.name), []).append(runner.prefill_s())
    report(args, runners, found)


def report(args: argparse.Namespace, runners: list[Ours | LlamaCpp], found: dict[tuple[str, str], list[float]]) -> None:
    for what in dict.fromkeys(what for what, _ in found):
        num_tokens = int(what.split()[1])
        middle = {r.name: statistics.median(found[what, r.name]) for r in runners}
        cells = [f"{n} {s * 1e3:8.2f} ms {num_tokens / s:7.0f} tok/s" for n, s in middle.items()]
        ratio = f"   ratio {middle['llama.cpp'] / middle['publican']:.2f}" if args.llama else ""
        print(f"{what:12}  " + "   ".join(cells) + ratio)


if __name__ == "__main__":
    _SILENT = _silence() if "--llama" in sys.argv else None
    main()
