"""What `LlamaExecutor.execute` costs beyond the bare ``llama_decode`` in it. Run by hand:

python -m tests.executors.llama.overhead MODEL.gguf [NUM_STEPS]
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from publican.core.step import Free, Row, StepPlan
from publican.executors.llama import LlamaConfig, load
from publican.executors.llama.executor import LlamaExecutor

CONTEXT_LEN = 512


def main(path: Path, num_steps: int = 50) -> None:
    for num_threads in (1, 2):
        config = LlamaConfig(
            context_len=CONTEXT_LEN + 2 * num_steps + 8, num_cells=16_384, num_slots=8, num_threads=num_threads
        )
        executor = load(path, config)
        for batch_size in (1, 8):
            report(executor, batch_size, num_threads, num_steps)
        executor.close()


def report(executor: LlamaExecutor, batch_size: int, num_threads: int, num_steps: int) -> None:
    tokens = np.random.default_rng(0).integers(0, executor.info.vocab_size, CONTEXT_LEN).tolist()
    executor.execute(StepPlan((), tuple(Free(slot) for slot in range(executor.info.num_slots))))
    for slot in range(batch_size):
        executor.execute(StepPlan((Row(slot, tokens, 0, 1),)))
    inside: list[float] = []
    watch_library(executor, inside)
    whole = []
    for step in range(num_steps):
        plan = StepPlan(tuple(Row(slot, [7], CONTEXT_LEN + step, 1) for slot in range(batch_size)))
        begin = time.perf_counter()
        executor.execute(plan)
        whole.append(time.perf_counter() - begin)
    ours = [all_ - sum(parts) for all_, parts in zip(whole, zip(inside[::2], inside[1::2], strict=True), strict=True)]
    median, step = statistics.median(ours), statistics.median(whole)
    print(
        f"{num_threads} threads, batch {batch_size}: step {step * 1e3:.2f} ms, {batch_size / step:.1f} tokens/s; "
        f"ours {median * 1e6:.0f} us, {median / step:.2%}"
    )


def watch_library(executor: LlamaExecutor, times: list[float]) -> None:
    """Note how long each of the two calls into libllama takes: the decoding, and waiting for its logits."""
    session = executor._session
    for name in ("decode", "logits_address"):
        call = getattr(type(session), name).__get__(session)

        def timed(*args, call=call):
            begin = time.perf_counter()
            result = call(*args)
            times.append(time.perf_counter() - begin)
            return result

        setattr(session, name, timed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
