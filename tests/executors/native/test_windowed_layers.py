"""Layers with a window in pages of their own: the same numbers as with everything kept, in a fraction of the memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.core.executor import ExecutorInfo, Pages
from publican.core.ids import TokenId
from publican.core.step import Row, StepPlan
from publican.engine.memory import PrefixCache, cache_for
from publican.executors.native.batch import Backend
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu.backend import CpuBackend
from publican.executors.native.cpu.config import CpuConfig
from publican.executors.native.cuda.backend import CudaBackend
from publican.executors.native.cuda.config import CacheName
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.loading import describe, load
from publican.executors.native.plain import PlainBackend
from publican.executors.native.program import Attend, Program
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import on_host
from tests.executors.native import tiny
from tests.executors.native.cpu.programs import CONTEXT, Weights, f32, make_program, q4
from tests.executors.native.cuda.on_cpu import EXACT, load_on_cpu

PAGE_LEN, WINDOW, CHUNK_LEN, SLOTS = 16, 20, 32, 3
NUM_WINDOWED = 2 * (-(-(WINDOW + 64 + CHUNK_LEN) // PAGE_LEN) + 2)  # what two conversations need, and hardly more
KINDS = ["all layers", "some layers"]
KV_TYPES: dict[str, CacheName] = {"cuda": "f32", "cuda q8": "q8", "cuda q4": "q4"}


def program_of(kind: str, weights: Weights = q4, style: str = "gemma") -> Program:
    """Three layers, all of them or the last two with a window."""
    windows = (WINDOW,) * 3 if kind == "all layers" else (0, WINDOW, WINDOW)
    program = make_program(weights, style=style, layers=3)
    ops = [dataclasses.replace(op, window=windows[op.layer]) if isinstance(op, Attend) else op for op in program.ops]
    return dataclasses.replace(program, ops=tuple(ops), windows=windows)


def backend_of(name: str, program: Program, num_pages: int, num_windowed: int) -> Backend:
    if name == "plain":
        return PlainBackend(program, num_pages, PAGE_LEN, "f32", num_windowed)
    if name.startswith("cuda"):
        limits, twins = (SLOTS * CHUNK_LEN, SLOTS), dataclasses.replace(EXACT, kv_dtype=KV_TYPES[name])
        return CudaBackend(program, (num_pages, PAGE_LEN), limits, twins, num_windowed_pages=num_windowed)
    config = CpuConfig(1, kv="int4" if name == "cpu q4" else "bf16")
    return CpuBackend(program, (num_pages, num_windowed), PAGE_LEN, SLOTS * CHUNK_LEN, 64, config)


def executor_of(name: str, program: Program, num_windowed: int = 0) -> NativeExecutor:
    """With so many windowed pages, or with everything kept."""
    num_pages = 4 * CONTEXT // PAGE_LEN
    memory = Pages(PAGE_LEN, num_pages, WINDOW if num_windowed else 0, num_windowed)
    info = ExecutorInfo("native", "", program.vocab_size, CONTEXT, SLOTS, CHUNK_LEN, 64, memory, program.hidden_size)
    return NativeExecutor(info, backend_of(name, program, num_pages, num_windowed))


class Talk:
    """One sequence: its tokens, and what came of the last of them. Chunks of a prompt, then greedy answers."""

    def __init__(self, executor: NativeExecutor, cache: PrefixCache, tokens: list[int]) -> None:
        lease = cache.lock([TokenId(t) for t in tokens])
        assert lease is not None
        self.executor, self.cache, self.tokens = executor, cache, list(tokens)
        self.slot, self.num_cached = lease
        self.num_computed = lease.num_cached
        self.logits: list[Any] = []

    def step(self, most: int = CHUNK_LEN) -> None:
        end = min(self.num_computed + most, len(self.tokens))
        assert self.cache.reserve(self.slot, end), "no room"
        row = Row(self.slot, [TokenId(t) for t in self.tokens[self.num_computed : end]], self.num_computed, 1)
        logits = on_host(self.executor.execute(StepPlan((row,), self.cache.drain())).logits)
        self.cache.insert(self.slot, self.tokens, end)
        self.cache.check()
        self.num_computed = end
        if end == len(self.tokens):
            self.logits.append(logits[0].copy())
            self.tokens.append(int(logits[0].argmax()))

    def answer(self, count: int) -> None:
        while len(self.logits) < count:
            self.step()

    def end(self) -> None:
        self.cache.unlock(self.slot)


def prompt(length: int, seed: int) -> list[int]:
    return [int(t) for t in np.random.default_rng(seed).integers(0, 75, length)]


def equal(name: str, ours: Talk, kept: Talk) -> None:
    assert ours.tokens == kept.tokens
    is_exact = name.startswith("cpu")
    compare = np.testing.assert_array_equal if is_exact else np.testing.assert_allclose
    options: dict[str, Any] = {} if is_exact else {"rtol": 1e-3, "atol": 1e-4}
    compare(np.array(ours.logits), np.array(kept.logits), **options)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["plain", "cpu", "cpu q4", *KV_TYPES])
def pair(request: pytest.FixtureRequest, kind: str) -> Iterator[tuple[str, NativeExecutor, NativeExecutor]]:
    """A backend's name, an executor that gives back and one that keeps everything."""
    name = str(request.param)
    # The twins of cuda unpack codes anew in every step, and its q4 wants heads of whole groups.
    program = program_of(kind, f32, "llama") if name in KV_TYPES else program_of(kind)
    executors = executor_of(name, program, NUM_WINDOWED), executor_of(name, program)
    yield name, *executors
    for executor in executors:
        executor.close()


def test_long_talks_side_by_side_in_little_room(pair: tuple[str, NativeExecutor, NativeExecutor]) -> None:
    """Two of 400 and 250 tokens hold more than there are windowed pages; a third begins like the first."""
    name, *executors = pair
    done = []
    for executor in executors:
        cache = cache_for(executor.info)
        first, second = (Talk(executor, cache, prompt(n, n)) for n in (400, 250))
        for _ in range(14):
            first.step()
            second.step()
        first.answer(8)
        second.answer(8)
        first.end()
        again = Talk(executor, cache, [*first.tokens, 5, 6])
        assert again.num_cached >= 400
        again.answer(4)
        other = Talk(executor, cache, [*first.tokens[:200], 7])
        done.append((first, second, again, other))
        second.end()
        again.end()
        other.answer(3)
    for ours, kept in zip(*done, strict=True):
        equal(name, ours, kept)
    assert done[0][3].num_cached == 0  # the window before its end went to the others long ago
    assert done[1][3].num_cached == 200


def test_a_beginning_that_is_still_there_is_shared(pair: tuple[str, NativeExecutor, NativeExecutor]) -> None:
    name, *executors = pair
    done = []
    for executor in executors:
        cache = cache_for(executor.info)
        first = Talk(executor, cache, prompt(90, 1))
        first.answer(3)
        second = Talk(executor, cache, [*first.tokens[:83], 9, 9])
        assert second.num_cached == 83  # five whole pages and a copied piece, of both kinds
        second.answer(5)
        first.answer(6)
        done.append((first, second))
    for ours, kept in zip(*done, strict=True):
        equal(name, ours, kept)


def test_an_answer_is_taken_back_and_given_again(pair: tuple[str, NativeExecutor, NativeExecutor]) -> None:
    """A little, which is still held, and so much that it is computed anew."""
    _, executor, _ = pair
    cache = cache_for(executor.info)
    talk = Talk(executor, cache, prompt(300, 3))
    talk.answer(20)
    tokens, logits = list(talk.tokens), list(talk.logits)
    for wanted in (305, 150):
        del talk.tokens[wanted:]
        talk.num_computed = cache.truncate(talk.slot, wanted - 1)
        assert talk.num_computed == (wanted - 1 if wanted == 305 else 0) or wanted - 1 - talk.num_computed < PAGE_LEN
        talk.logits = []
        talk.tokens = tokens[:wanted] if wanted == 305 else tokens[:300]
        talk.answer(15 if wanted == 305 else 20)
        assert talk.tokens == tokens
        np.testing.assert_allclose(talk.logits[-10:], logits[-10:], rtol=1e-3, atol=1e-4)


def test_what_is_given_back_is_not_taken_up(kind: str) -> None:
    """The memory that is there, of both kinds of pages."""
    program = program_of(kind)
    kept = PlainBackend(program, 160, PAGE_LEN)
    ours = PlainBackend(program, 160, PAGE_LEN, "f32", NUM_WINDOWED)
    num_full = 0 if kind == "all layers" else 1
    assert ours.kv_bytes * 3 * 160 == kept.kv_bytes * (160 * num_full + NUM_WINDOWED * (3 - num_full))


@pytest.mark.parametrize("backend", ["plain", "cpu", "cuda"])
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3", "qwen2 with windows"])
def test_a_model_from_its_files(tmp_path: Path, family: str, backend: Any) -> None:
    """The loader makes both kinds of pages, and the numbers are those of the plain backend that keeps everything."""
    name, options = tiny.MODELS[family]
    tiny.save(tiny.make(name, **options), tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    config = NativeConfig(
        backend, context_len=256, num_slots=2, num_pages=32, max_batch_tokens=CHUNK_LEN, num_threads=1, quality=True
    )
    executor = load(checkpoint, config) if backend != "cuda" else load_on_cpu(checkpoint, config)
    memory = executor.info.memory
    assert isinstance(memory, Pages)
    assert memory.window == options["sliding_window"]
    assert memory.num_windowed_pages == 2 * (-(-(memory.window + 64 + CHUNK_LEN) // 16) + 2) < 32
    program, info, filled = describe(checkpoint, dataclasses.replace(config, backend="plain"))
    plain = PlainBackend(program, filled.num_pages, filled.page_len)
    everything = dataclasses.replace(info, memory=Pages(filled.page_len, filled.num_pages))
    tokens = [t % executor.info.vocab_size for t in prompt(200, 4)]
    ours = Talk(executor, cache_for(executor.info), tokens)
    kept = Talk(NativeExecutor(everything, plain), cache_for(everything), tokens)
    ours.answer(1)
    kept.answer(1)
    assert ours.cache.num_locked_tokens  # type: ignore[attr-defined]
    np.testing.assert_allclose(ours.logits[0], kept.logits[0], atol=0.05 if backend == "cpu" else 1e-4)
    executor.close()


def test_a_window_as_long_as_the_context_is_none(tmp_path: Path) -> None:
    name, options = tiny.MODELS["mistral"]
    tiny.save(tiny.make(name, **(options | {"sliding_window": 64})), tmp_path)
    info = load(open_checkpoint(tmp_path), NativeConfig(context_len=64, num_slots=2)).info
    assert info.memory == Pages(16, 8)
