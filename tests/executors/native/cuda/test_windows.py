"""Layers with a window in pages of their own, over memory that is poison wherever it is not held.

What a slot gives back becomes NaN at once, and page 0, which tables name where nothing is held, is never given to anybody:
whoever reads behind a window answers with NaN. Other operations than those on pages are the twins'.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from publican.core.executor import ExecutorInfo, Pages
from publican.core.ids import PageId, SlotId, TokenId
from publican.core.step import Extend, Free, MemoryOp, Release, Row, StepPlan
from publican.executors.native import cuda
from publican.executors.native.batch import Backend, Batch, make_batch
from publican.executors.native.config import NativeConfig
from publican.executors.native.cuda import backend as backend_module
from publican.executors.native.cuda.backend import CudaBackend
from publican.executors.native.cuda.cache import KVCache
from publican.executors.native.cuda.config import CudaConfig
from publican.executors.native.cuda.graphs import Graphs
from publican.executors.native.cuda.inputs import StepInputs
from publican.executors.native.cuda.kernels import TritonOperations
from publican.executors.native.cuda.twins import TorchOperations
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.loading import describe, load
from publican.executors.native.plain.backend import PlainBackend
from publican.executors.native.plain.cache import KVType
from publican.executors.native.program import Attend, Program
from publican.executors.page_table import PageTables
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import on_host
from tests.executors.native import tiny
from tests.executors.native.cpu.programs import f32, make_program
from tests.executors.native.cuda.on_cpu import backend_of

PAGE_LEN, WINDOW, CHUNK_LEN, SLOTS, CONTEXT = 4, 9, 8, 4, 128
NUM_PAGES = SLOTS * CONTEXT // PAGE_LEN
NUM_WINDOWED = 1 + 3 * (-(-(WINDOW + CHUNK_LEN) // PAGE_LEN) + 1)
"""Without slack: what three sequences hold at once, and page 0."""
NUM_DECODED = 12
KINDS = {"all layers": (WINDOW, WINDOW), "some layers": (WINDOW, 0, WINDOW), "one of each": (0, WINDOW)}
SMALL: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
Rows = dict[int, list[int]]


class KernelsOfPages(TorchOperations):
    """Whatever touches pages by the kernels."""

    block_sizes = staticmethod(TritonOperations.block_sizes)
    store_kv = staticmethod(TritonOperations.store_kv)
    attend = staticmethod(TritonOperations.attend)


@pytest.fixture
def by_kernels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What to change in a config, so that kernels read and write pages."""
    if torch.cuda.is_available():
        return {"kernels": "triton"}
    monkeypatch.setattr(backend_module, "operations", lambda config: KernelsOfPages())
    return {}


class Everything:
    """Sequences of an executor; every slot has a whole context of pages."""

    def __init__(self, info: ExecutorInfo, backend: Backend) -> None:
        self.executor = NativeExecutor(info, backend)
        self._lengths: dict[int, int] = {}

    def step(self, rows: Rows) -> dict[int, np.ndarray]:
        """The logits of all new tokens of each slot."""
        starts = {slot: self._lengths.get(slot, 0) for slot in rows}
        ops = [op for slot, tokens in rows.items() for op in self._ops(slot, starts[slot], len(tokens))]
        planned = [Row(SlotId(s), [TokenId(t) for t in tokens], starts[s], len(tokens)) for s, tokens in rows.items()]
        self._lengths |= {slot: starts[slot] + len(tokens) for slot, tokens in rows.items()}
        logits = on_host(self.executor.execute(StepPlan(tuple(planned), tuple(ops))).logits).copy()
        cuts = np.cumsum([len(tokens) for tokens in rows.values()])[:-1]
        return dict(zip(rows, np.split(logits, cuts), strict=True))

    def _ops(self, slot: int, start: int, count: int) -> Sequence[MemoryOp]:
        per_slot = CONTEXT // PAGE_LEN
        pages = range(slot * per_slot, (slot + 1) * per_slot)
        return [] if start else [Extend(SlotId(slot), tuple(map(PageId, pages)))]

    def end(self, slot: int) -> None:
        del self._lengths[slot]
        self.executor.execute(StepPlan((), (Free(SlotId(slot)),)))


class Sliding(Everything):
    """Gives back what no row to come looks at, poisons it, and hands it out again at once.

    Attributes:
        free: windowed pages that nobody holds, and may have; num_given: how many were handed out in all.
    """

    def __init__(self, info: ExecutorInfo, backend: CudaBackend) -> None:
        super().__init__(info, backend)
        assert isinstance(info.memory, Pages)
        self.backend, self._window, self.num_given = backend, info.memory.window, 0
        self.free = list(range(1, info.memory.num_windowed_pages))
        self._held: dict[int, list[int]] = {}
        self._num_released: dict[int, int] = {}
        for cache in (*backend.caches, *backend.windowed_caches):
            poison(cache, slice(0, cache.spare_page))

    def _ops(self, slot: int, start: int, count: int) -> Sequence[MemoryOp]:
        held = self._held.setdefault(slot, [])
        first, released = max(0, start + 1 - self._window) // PAGE_LEN, self._num_released.get(slot, 0)
        ops = [*super()._ops(slot, start, count)]
        if first > released:
            self._let_go(held[: first - released])
            del held[: first - released]
            self._num_released[slot] = first
            ops.append(Release(SlotId(slot), first))
        num_missing = -(-(start + count) // PAGE_LEN) - first - len(held)
        if num_missing > 0:
            pages = [self.free.pop() for _ in range(num_missing)]  # what was given back last goes first
            held += pages
            self.num_given += num_missing
            ops.append(Extend(SlotId(slot), tuple(map(PageId, pages)), windowed=True))
        return ops

    def end(self, slot: int) -> None:
        self._let_go(self._held.pop(slot))
        self._num_released.pop(slot, None)
        super().end(slot)

    def _let_go(self, pages: list[int]) -> None:
        for cache in self.backend.windowed_caches:
            poison(cache, pages)
        self.free += pages


def poison(cache: KVCache, pages: Any) -> None:
    """No code is poison, but their scales can be."""
    (cache.data if cache.scales is None else cache.scales)[:, :, pages] = torch.nan


def are_poison(cache: KVCache, pages: Any) -> bool:
    return bool((cache.data if cache.scales is None else cache.scales)[:, :, pages].isnan().all())


def info_of(program: Program, is_sliding: bool = True) -> ExecutorInfo:
    memory = Pages(PAGE_LEN, NUM_PAGES, program.window, NUM_WINDOWED) if is_sliding else Pages(PAGE_LEN, NUM_PAGES)
    return ExecutorInfo("native", "", program.vocab_size, CONTEXT, SLOTS, 64, 64, memory, program.hidden_size)


def sliding(program: Program, **changes: Any) -> Sliding:
    return Sliding(info_of(program), backend_of(program, info_of(program), **changes))


def plain(program: Program, kv_type: KVType = "f32") -> Everything:
    return Everything(info_of(program, False), PlainBackend(program, NUM_PAGES, PAGE_LEN, kv_type))


def course(texts: list[list[int]], sequences: Everything) -> list[np.ndarray]:
    """The logits of every token of four texts. A long prompt in chunks beside one that is decoded; a third comes; the second
    ends, and the fourth takes its slot."""
    slots, done = (0, 1, 2, 1), [0, 0, 0, 0]
    found: list[list[np.ndarray]] = [[], [], [], []]

    def step(sizes: dict[int, int]) -> None:
        taken = {i: texts[i][done[i] : done[i] + size] for i, size in sizes.items() if done[i] < len(texts[i])}
        logits = sequences.step({slots[i]: tokens for i, tokens in taken.items()})
        for i, tokens in taken.items():
            done[i] += len(tokens)
            found[i].append(logits[slots[i]])

    step({0: 8, 1: 5})
    for _ in range(3):
        step({1: 1, 0: CHUNK_LEN})
    step({2: 7, 1: 1, 0: 3})
    while done[1] < len(texts[1]):
        step({0: 1, 1: 1, 2: 1})
    sequences.end(1)
    while done[3] < len(texts[3]):
        step({0: 2, 3: CHUNK_LEN, 2: 1})
    while done[0] < len(texts[0]):
        step({0: CHUNK_LEN})
    while done[2] < len(texts[2]):
        step({2: 1})
    return [np.concatenate(logits) for logits in found]


def texts_of(vocab_size: int, *lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, vocab_size, n).tolist() for n in lengths]


def program_of(kind: str, style: str = "llama") -> Program:
    windows = KINDS[kind]
    program = make_program(f32, style=style, layers=len(windows))
    ops = [dataclasses.replace(op, window=windows[op.layer]) if isinstance(op, Attend) else op for op in program.ops]
    return dataclasses.replace(program, ops=tuple(ops), windows=windows, context_len=CONTEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_go_round_and_nothing_behind_a_window_is_read(kind: str) -> None:
    program = program_of(kind)
    texts, ours = texts_of(program.vocab_size, 120, 18, 24, 40), sliding(program)
    got, expected = course(texts, ours), course(texts, plain(program))
    assert ours.num_given > 2 * NUM_WINDOWED
    assert all(are_poison(cache, 0) for cache in ours.backend.windowed_caches)
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=2e-4)


FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    name: (tiny.MODELS[name][0], tiny.MODELS[name][1] | SMALL) for name in ("mistral", "gemma3")
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kv_type", ["f32", "q8", "q4"])
def test_models_beside_transformers(family: str, kv_type: KVType, tmp_path: Path) -> None:
    beside_transformers(family, kv_type, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "kv_type"), [("gemma3", "f32"), ("mistral", "q8"), ("gemma3", "q4")])
def test_models_by_kernels(family: str, kv_type: KVType, by_kernels: dict[str, Any], tmp_path: Path) -> None:
    beside_transformers(family, kv_type, tmp_path, **by_kernels)


def beside_transformers(family: str, kv_type: KVType, tmp_path: Path, **changes: Any) -> None:
    """Prompts, decoding and slots that are used again, in little room, beside whole texts at once."""
    pytest.importorskip("transformers")
    class_name, options = FAMILIES[family]
    model = tiny.make(class_name, **options)
    checkpoint = open_checkpoint(tiny.save(model, tmp_path))
    texts = texts_of(tiny.VOCAB, 56, 14, 16, 20)

    def program() -> Program:
        return describe(checkpoint, NativeConfig("cuda", CONTEXT, SLOTS))[0]

    assert program().windows == ((WINDOW, WINDOW) if family == "mistral" else (WINDOW, 0))
    ours = sliding(program(), kv_dtype=kv_type, **changes)
    got = course(texts, ours)
    assert ours.num_given > NUM_WINDOWED
    exact = [tiny.logits(model, text) for text in texts]
    if kv_type == "f32":
        for one, other in zip(exact, got, strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-4 * np.abs(one).max())
        return
    kept = course(texts, plain(program(), kv_type))
    off = np.concatenate([(one - other).ravel() for one, other in zip(kept, got, strict=True)])
    lost = np.concatenate([(one - other).ravel() for one, other in zip(exact, kept, strict=True)])
    assert off.std() < 0.5 * lost.std()  # a step is rounded otherwise, and some codes with it


def test_the_loader_makes_both_kinds_of_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All the way a host goes, but that the card is the CPU."""
    pytest.importorskip("transformers")
    made: list[CudaBackend] = []

    def on_cpu(program: Program, cache: Any, limits: Any, config: CudaConfig, **rest: Any) -> CudaBackend:
        changes: dict[str, Any] = {"kernels": "torch", "graphs": False}
        made.append(CudaBackend(program, cache, limits, dataclasses.replace(config, **changes), **rest))
        return made[0]

    monkeypatch.setattr(cuda, "visible_devices", lambda: ("cpu",))
    monkeypatch.setattr(cuda, "CudaBackend", on_cpu)
    class_name, options = FAMILIES["gemma3"]
    checkpoint = open_checkpoint(tiny.save(tiny.make(class_name, **options), tmp_path))
    info = load(checkpoint, NativeConfig("cuda", CONTEXT, 2, max_batch_tokens=CHUNK_LEN, kv_dtype="q8", quality=True)).info
    num_windowed = 2 * (-(-(WINDOW + 64 + CHUNK_LEN) // 16) + 2)
    assert info.memory == Pages(16, 2 * CONTEXT // 16, WINDOW, num_windowed)
    caches = made[0].caches[0], made[0].windowed_caches[0]
    assert [cache.data.shape[:3] for cache in caches] == [(1, 2, 2 * CONTEXT // 16 + 1), (1, 2, num_windowed + 1)]


class Recorded(Graphs):
    """As with a card, but that replaying is running the step again on what lies at the captured addresses."""

    num_replayed = 0

    def _capture(self, sent: list[StepInputs]) -> tuple[Any, torch.Tensor]:
        logits = torch.empty((len(sent[0].tokens), 75))

        def replay() -> None:
            self.num_replayed += 1
            logits.copy_(self._forward(sent)[0])

        return SimpleNamespace(replay=replay), logits


def decoded(sequences: Sliding) -> list[np.ndarray]:
    """Two prompts and then one token at a time, for longer than a window; a third joins and leaves."""
    found = [sequences.step({0: [1, 2, 3], 3: [4] * 11})]
    for token in range(NUM_DECODED):
        rows = {0: [token], 3: [token + 7]} | ({1: [token]} if 4 <= token < 9 else {})
        found.append(sequences.step(rows))
        if token == 8:
            sequences.end(1)
    return [logits[slot] for logits in found for slot in logits]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there are real graphs")
def test_a_replayed_step_finds_both_tables(by_kernels: dict[str, Any]) -> None:
    """Only kernels are told nothing but what lies on the device."""
    program = program_of("one of each", "gemma")
    ours, other = sliding(program, **by_kernels), sliding(program)
    backend = ours.backend
    graphs = Recorded(
        torch.device("cpu"), (SLOTS, CONTEXT // PAGE_LEN), backend._spare_pages, backend._inputs, backend._forward
    )
    backend._graphs = graphs
    for got, expected in zip(decoded(ours), decoded(other), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-4)
    assert graphs.num_replayed == NUM_DECODED - 2  # shapes for two and for three, computed once each
    (cache,) = backend.windowed_caches
    assert are_poison(cache, [0, *ours.free])  # padding went to the spare page
    assert not are_poison(cache, [cache.spare_page])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA card")
@pytest.mark.parametrize("kind", KINDS)
def test_replayed_steps_are_what_computed_ones_are(kind: str) -> None:
    one, other = (decoded(sliding(program_of(kind), kernels="triton", graphs=graphs)) for graphs in (False, True))
    for got, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_warming_up_leaves_no_trace() -> None:
    ours = sliding(program_of("some layers"))
    ours.backend.warm_up()
    for cache in (*ours.backend.caches, *ours.backend.windowed_caches):
        assert are_poison(cache, slice(0, cache.spare_page))
        assert not are_poison(cache, [cache.spare_page])


def test_what_is_kept_is_what_is_needed() -> None:
    """Each kind of layer has its own number of pages, and a spare one."""
    for kind, windows in KINDS.items():
        num_full, backend = windows.count(0), sliding(program_of(kind)).backend
        (full,), (windowed,) = backend.caches, backend.windowed_caches
        assert full.data.shape[:3] == (num_full, 2, NUM_PAGES + 1)
        assert windowed.data.shape[:3] == (windows.count(WINDOW), 2, NUM_WINDOWED + 1)
    program = dataclasses.replace(make_program(f32), windows=(0, 0))
    backend = backend_of(program, info_of(program, False))
    assert backend.caches[0].data.shape[:3] == (2, 2, NUM_PAGES + 1)
    assert backend.windowed_caches[0].data.numel() == 0
    assert backend._inputs.send(a_step(program))[0].windowed_pages is None


def a_step(program: Program) -> Batch:
    plan = StepPlan((Row(SlotId(0), [TokenId(1)], 0, 1),), (Extend(SlotId(0), (PageId(3),)),))
    tables = PageTables(info_of(program, False))
    tables.apply(plan)
    return make_batch(plan, tables)


def test_layers_of_both_kinds_on_two_devices() -> None:
    """The first has room for the first layer, which has a window, and not for the second, which has none."""
    program, pages_bytes = program_of("some layers"), 2 * 2 * PAGE_LEN * 32 * 4
    fixed = 4 * (75 * 96 + 96 * 320 + 192 * 96 + 3 * 160 * 96)
    split = (fixed + pages_bytes * (NUM_WINDOWED + 1) * 1.5) / 2**30, 1.0
    ours = sliding(program, devices=("cpu", "cpu"), budgets_gb=split)
    assert [stage.layers for stage in ours.backend._stages] == [[0], [1, 2]]
    assert [cache.data.shape[0] for cache in ours.backend.windowed_caches] == [1, 1]
    texts = texts_of(program.vocab_size, 60, 18, 24, 20)
    for one, other in zip(course(texts, plain(program)), course(texts, ours), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=2e-4)
