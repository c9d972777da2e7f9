"""How fast a model of a published shape decodes and reads prompts, beside what its bytes and operations take at least.

The backend is driven by hand: contexts are random numbers in the cache, for how they came there does not matter to what a
step costs. A step counts from the plan's arrays to the logits, as an engine would wait for them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from publican.bench.kernels import Ceilings, decoding_batch
from publican.bench.shapes import WeightFormat, lower_repeated, num_parameters, random_program, rough_weight_bytes
from publican.core.model import ModelSpec
from publican.executors.native.batch import Batch
from publican.executors.native.cuda.backend import CudaBackend
from publican.executors.native.cuda.cache import page_bytes
from publican.executors.native.cuda.config import CudaConfig

Progress = Callable[[str], None]
_PAGE_LEN = 16
_SPARE_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class ShapeConfig:
    """What is measured.

    Attributes:
        backend: the device and its kernels.
        batch_sizes, contexts: sequences in a step, and tokens that each holds.
        prompt_len: tokens of a prompt, read in one step; 0 leaves it out.
        num_steps: timed steps in each case.
        memory_bytes: of the device; 0 is what is free.
    """

    backend: CudaConfig
    batch_sizes: tuple[int, ...] = (1, 4, 16, 64)
    contexts: tuple[int, ...] = (128, 2_048, 8_192)
    prompt_len: int = 2_048
    num_steps: int = 20
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StepTime:
    """One case: tokens per second, and the share of what the measured rates would allow; or why it was not measured."""

    case: str
    seconds: float = 0.0
    tokens_per_s: float = 0.0
    share: float = 0.0
    left_out: str = ""


def time_shape(
    spec: ModelSpec, how: WeightFormat, config: ShapeConfig, ceilings: Ceilings, tell: Progress
) -> tuple[int, list[StepTime]]:
    """Bytes of the weights, and every case."""
    contexts = max((*config.contexts, config.prompt_len)) + _PAGE_LEN
    most = max(config.batch_sizes) * -(-max(config.contexts) // _PAGE_LEN)
    num_pages = min(most, _pages_that_fit(spec, how, config))
    num_pages = max(num_pages, -(-contexts // _PAGE_LEN))
    tell("making weights")
    limits = max(config.prompt_len, *config.batch_sizes), max(config.batch_sizes)
    program = random_program(spec, how, contexts)
    backend = CudaBackend(program, (num_pages, _PAGE_LEN), limits, config.backend, lower_repeated)
    for cache in backend.caches:
        cache.fill_randomly()
    times: list[StepTime] = []
    try:
        for context in config.contexts:
            for size in config.batch_sizes:
                tell(f"{size} × {context:,}")
                times.append(_decode(backend, spec, (size, context), num_pages, config, ceilings))
        if config.prompt_len:
            tell(f"a prompt of {config.prompt_len:,}")
            times.append(_prompt(backend, spec, config, ceilings))
        return backend.weight_bytes, times
    finally:
        backend.close()


def _decode(
    backend: CudaBackend, spec: ModelSpec, case: tuple[int, int], num_pages: int, config: ShapeConfig, ceilings: Ceilings
) -> StepTime:
    size, context = case
    name = f"decode, {size} × {context:,}"
    batch = decoding_batch(size, context)
    if batch.pages.size > num_pages:
        return StepTime(
            name, left_out=f"{batch.pages.size * _PAGE_LEN:,} tokens, and there is room for {num_pages * _PAGE_LEN:,}"
        )
    seconds = _seconds(backend, batch, config.num_steps)
    return StepTime(
        name, seconds, size / seconds, decode_floor_s(spec, backend.weight_bytes, (size, context), ceilings) / seconds
    )


def _prompt(backend: CudaBackend, spec: ModelSpec, config: ShapeConfig, ceilings: Ceilings) -> StepTime:
    length = config.prompt_len
    seconds = _seconds(backend, prompt_batch(length), max(2, config.num_steps // 4))
    return StepTime(f"prompt of {length:,}", seconds, length / seconds, prompt_floor_s(spec, length, ceilings) / seconds)


def decode_floor_s(spec: ModelSpec, weight_bytes: int, case: tuple[int, int], ceilings: Ceilings) -> float:
    """Seconds that a step of (sequences, tokens that each holds) takes at least at the measured rates."""
    size, context = case
    moved = weight_bytes - 2 * spec.vocab_size * spec.hidden_size + kv_bytes(spec, size * context)  # rows of the embedding
    return max(moved / ceilings.bytes_per_s, 2 * num_parameters(spec) * size / ceilings.flops_per_s)


def prompt_floor_s(spec: ModelSpec, length: int, ceilings: Ceilings) -> float:
    """Seconds that a prompt in one step takes at least."""
    products = 2 * (num_parameters(spec) - spec.vocab_size * spec.hidden_size) * length
    attention = 2 * spec.num_layers * spec.num_heads * spec.head_dim * length * length  # half of all pairs, twice
    return (products + attention) / ceilings.flops_per_s


def kv_bytes(spec: ModelSpec, num_tokens: int) -> int:
    """In 16 bits."""
    return 2 * 2 * spec.num_layers * spec.num_kv_heads * spec.head_dim * num_tokens


def prompt_batch(length: int) -> Batch:
    """A prompt in one step, with one row of logits."""
    rows, zero = np.arange(length, dtype=np.int32), np.zeros(1, np.int32)
    pages = np.arange(-(-length // _PAGE_LEN), dtype=np.int32)[None]
    last = np.array([length - 1], np.int32)
    whole = np.array([length], np.int32)
    return Batch(rows % 97, rows, np.zeros(length, np.int32), zero, whole, zero, pages, last, np.empty(0, np.int32))


def _seconds(backend: CudaBackend, batch: Batch, num_steps: int) -> float:
    """Median of whole steps, after three that compile and capture."""
    times = []
    for _ in range(num_steps + 3):
        begin = time.perf_counter()
        logits, _ = backend.run(batch)
        float(logits[0, 0])  # waits
        times.append(time.perf_counter() - begin)
    return statistics.median(times[3:])


def _pages_that_fit(spec: ModelSpec, how: WeightFormat, config: ShapeConfig) -> int:
    device = torch.device(config.backend.devices[0])
    if device.type != "cuda":
        return 1 << 20
    free = config.memory_bytes or torch.cuda.mem_get_info(device)[0]
    left = free - rough_weight_bytes(spec, how) - _SPARE_BYTES
    return max(0, left) // page_bytes(spec.num_layers, (spec.num_kv_heads, _PAGE_LEN, spec.head_dim), torch.bfloat16)
