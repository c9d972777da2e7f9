"""What `core.executor.Executor` promises, on every executor there is.

Add one by a line in `FACTORIES`: a function from a folder (to put files in) to a fresh executor with five slots, 96
tokens of context, 64 tokens and 40 rows of logits per plan, and memory for all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.errors import PlanError
from publican.core.executor import Cells, Executor, Pages
from publican.core.ids import SlotId
from publican.core.step import CopyPage, Extend, Free, Row, Share, StepPlan, Truncate
from publican.executors import llama
from publican.executors.fake import FakeExecutor, fake_info
from publican.executors.llama import LlamaConfig
from publican.executors.native.config import BackendName, NativeConfig
from publican.executors.native.cpu.library import LibraryMissing
from publican.executors.native.loading import load
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.llama.tiny import write_gemma, write_llama
from tests.executors.native.cuda.on_cpu import load_on_cpu

Factory = Callable[[Path], Executor]
MEASURES: dict[str, Any] = {"num_slots": 5, "context_len": 96, "max_batch_tokens": 64, "max_logits": 40}


def fake_with_pages(folder: Path) -> Executor:
    return FakeExecutor(fake_info(Pages(4, 120), **MEASURES))


def fake_with_cells(folder: Path) -> Executor:
    return FakeExecutor(fake_info(Cells(480), **MEASURES))


def native(backend: BackendName, pages: Pages) -> Factory:
    def make(folder: Path) -> Executor:
        path = folder / "llama.gguf"
        if not path.exists():
            write_llama(path)
        config = NativeConfig(backend, page_len=pages.page_len, num_pages=pages.num_pages, num_threads=1, **MEASURES)
        try:
            return load(open_checkpoint(path), config)
        except LibraryMissing as missing:
            pytest.skip(str(missing))

    return make


def cuda_twins(folder: Path) -> Executor:
    """The cuda backend's own way through a step, with its operations in plain torch."""
    path = folder / "llama.gguf"
    if not path.exists():
        write_llama(path)
    return load_on_cpu(open_checkpoint(path), NativeConfig("cuda", page_len=8, num_pages=60, **MEASURES))


def libllama(write: Callable[[Path], Path]) -> Factory:
    """libllama on a tiny model of some kind, in float32 throughout, which it is only without flash attention."""

    def make(folder: Path) -> Executor:
        pytest.importorskip("llama_cpp")
        path = folder / f"{write.__name__}.gguf"
        if not path.exists():
            write(path)
        config = LlamaConfig(num_cells=512, kv_dtype="f32", flash_attention=False, num_threads=1, **MEASURES)
        return llama.load(path, config)

    return make


FACTORIES: dict[str, Factory] = {
    "fake, pages": fake_with_pages,
    "fake, cells": fake_with_cells,
    "native, plain": native("plain", Pages(4, 120)),
    "native, cpu": native("cpu", Pages(16, 40)),
    "native, cuda in torch": cuda_twins,
    "llama": libllama(write_llama),
    "llama, window": libllama(write_gemma),
}
ROUNDING: dict[str, float] = {
    "native, plain": 2e-5,
    "native, cpu": 2e-5,
    "native, cuda in torch": 2e-5,
    "llama": 1e-3,
    "llama, window": 3e-3,
}
"""By how much logits may differ between two ways of computing them; not at all for those that are not named."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(params=FACTORIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def executor(name: str, folder: Path) -> Iterator[Executor]:
    made = FACTORIES[name](folder)
    yield made
    made.close()


@pytest.fixture
def drive(executor: Executor) -> Drive:
    return Drive(executor)


@pytest.fixture
def same(name: str) -> Callable[[np.ndarray, np.ndarray], bool]:
    def compare(a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=ROUNDING.get(name, 0.0))

    return compare


Same = Callable[[np.ndarray, np.ndarray], bool]


def some_tokens(seed: int, length: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 90, length).tolist()


def alone(drive: Drive, tokens: list[int], num_logits: int | None = None) -> np.ndarray:
    """Logits of `tokens` computed one row at a time, in slot 4 from nothing."""
    logits = drive.step({4: tokens}, num_logits)[4]
    drive.free(4)
    return logits


def test_info_is_true_to_itself(executor: Executor) -> None:
    info = executor.info
    assert info.memory.num_tokens >= info.context_len
    assert info.max_logits >= 1
    assert info.loader
    assert info.device


def test_logits_are_float32_writable_and_finite(drive: Drive) -> None:
    plan = drive.plan({0: some_tokens(1, 7), 2: some_tokens(2, 3)}, num_logits=2)
    logits = drive.executor.execute(plan).logits
    assert logits.shape == (4, drive.executor.info.vocab_size)
    assert np.asarray(logits).dtype == np.float32
    assert np.isfinite(np.asarray(logits)).all()
    logits[:] = 0  # the engine may write to them, and nothing comes of it
    again = np.asarray(drive.executor.execute(drive.plan({0: [5]})).logits)
    assert again.any()


def test_ragged_rows_are_what_each_is_alone(drive: Drive, same: Same) -> None:
    prompts = {slot: some_tokens(slot, length) for slot, length in enumerate([1, 9, 16, 4])}
    together = drive.step(prompts)
    for slot, prompt in prompts.items():
        assert same(together[slot], alone(drive, prompt, 1))


def test_the_order_of_rows_does_not_matter(drive: Drive, same: Same) -> None:
    prompts = {0: some_tokens(1, 5), 1: some_tokens(2, 8)}
    first = drive.step(prompts)
    drive.free(0)
    drive.free(1)
    second = drive.step(dict(reversed(prompts.items())))
    assert same(first[0], second[0])
    assert same(first[1], second[1])


def test_decoding_beside_a_prompt_changes_neither(drive: Drive, same: Same) -> None:
    first, second = some_tokens(3, 20), some_tokens(4, 30)
    drive.step({0: first[:-1]}, num_logits=0)
    together = drive.step({1: second, 0: first[-1:]})
    assert same(together[0], alone(drive, first, 1))
    assert same(together[1], alone(drive, second, 1))


@pytest.mark.parametrize("size", [1, 3, 4, 7, 20])
def test_chunks_are_the_whole(drive: Drive, same: Same, size: int) -> None:
    tokens = some_tokens(5, 21)
    whole = alone(drive, tokens)
    parts = [drive.step({0: tokens[start : start + size]}, num_logits=None)[0] for start in range(0, 21, size)]
    assert same(np.concatenate(parts), whole)


@pytest.mark.parametrize("num_tokens", [1, 4, 8, 11, 16])
def test_a_shared_prefix_is_as_good_as_a_computed_one(drive: Drive, same: Same, num_tokens: int) -> None:
    first = some_tokens(6, 16)
    second = first[:num_tokens] + some_tokens(7, 9)
    drive.step({0: first}, num_logits=0)
    drive.share(0, 1, num_tokens)
    third = [*first, 3, 4]
    both = drive.step({1: second[num_tokens:], 0: third[16:]})
    assert same(both[1], alone(drive, second, 1))
    assert same(both[0], alone(drive, third, 1))


def test_what_is_shared_outlives_its_source(drive: Drive, same: Same) -> None:
    first = some_tokens(8, 12)
    drive.step({0: first}, num_logits=0)
    drive.share(0, 1, 12)
    drive.step({1: [7]}, num_logits=0)
    drive.free(0)
    drive.step({0: some_tokens(9, 30)}, num_logits=0)
    assert same(drive.step({1: [8]})[1], alone(drive, [*first, 7, 8], 1))


@pytest.mark.parametrize("kept", [1, 4, 6, 8, 12])
def test_a_cut_tail_is_forgotten(drive: Drive, same: Same, kept: int) -> None:
    first, other = some_tokens(10, 13), some_tokens(11, 5)
    drive.step({0: first}, num_logits=0)
    drive.truncate(0, kept)
    assert same(drive.step({0: other})[0], alone(drive, first[:kept] + other, 1))


def test_cutting_what_others_read_leaves_it_to_them(drive: Drive, same: Same) -> None:
    tokens = some_tokens(18, 12)
    drive.step({0: tokens}, num_logits=0)
    drive.share(0, 1, 12)
    drive.step({}, num_logits=0)
    drive.executor.execute(StepPlan((), (Truncate(SlotId(1), 10),)))  # within a page of both
    assert same(drive.step({0: [5]})[0], alone(drive, [*tokens, 5], 1))


def test_a_freed_slot_is_as_new(drive: Drive, same: Same) -> None:
    tokens = some_tokens(12, 10)
    expected = alone(drive, tokens, 1)
    for slot in (0, 1, 0, 1):
        drive.step({slot: some_tokens(slot + 50, 40)}, num_logits=0)
        drive.free(slot)
        assert same(drive.step({slot: tokens})[slot], expected)
        drive.free(slot)


def test_operations_alone_are_a_plan(drive: Drive, same: Same) -> None:
    tokens = some_tokens(13, 10)
    drive.step({0: tokens}, num_logits=0)
    drive.share(0, 1, 10)
    result = drive.executor.execute(drive.plan({}))
    assert np.asarray(result.logits).shape == (0, drive.executor.info.vocab_size)
    assert same(drive.step({1: [3]})[1], alone(drive, [*tokens, 3], 1))


@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_as_many_rows_of_logits_as_wanted(drive: Drive, same: Same, count: int) -> None:
    tokens, other = some_tokens(14, 12), some_tokens(15, 12)
    whole = alone(drive, tokens)
    got = drive.step({0: tokens, 1: other}, num_logits=count)
    assert got[0].shape == (count, drive.executor.info.vocab_size)
    assert same(got[0], whole[12 - count :])


def test_hidden_states_where_they_are_to_be_had(drive: Drive, same: Same) -> None:
    tokens = some_tokens(16, 9)
    plan = drive.plan({0: tokens, 1: tokens[:4]}, num_logits=1, num_hidden=3)
    if not drive.executor.info.hidden_size:
        with pytest.raises(PlanError):
            drive.executor.execute(plan)
        return
    hidden = np.asarray(drive.executor.execute(plan).hidden)
    assert hidden.shape == (6, drive.executor.info.hidden_size)
    assert hidden.dtype == np.float32
    again = drive.executor.execute(drive.plan({2: tokens}, num_logits=0, num_hidden=9))
    assert same(np.asarray(again.hidden)[6:], hidden[:3])
    assert same(np.asarray(again.hidden)[1:4], hidden[3:])
    assert drive.executor.execute(drive.plan({2: [1]})).hidden is None


def bad_plans(drive: Drive) -> dict[str, StepPlan]:
    """Plans that no executor may follow, while slot 0 holds twelve tokens."""
    info = drive.executor.info
    plans = {
        "no tokens": StepPlan((Row(0, [], 12, 0),)),
        "beyond what is held": StepPlan((Row(0, [1], 13, 1),)),
        "an empty slot is not held": StepPlan((Row(1, [1], 5, 1),)),
        "no such slot": StepPlan((Row(info.num_slots, [1], 0, 1),)),
        "a negative slot": StepPlan((Row(-1, [1], 0, 1),)),
        "a slot twice": StepPlan((Row(0, [1], 12, 1), Row(0, [1], 13, 1))),
        "no such token": StepPlan((Row(0, [info.vocab_size], 12, 1),)),
        "a negative token": StepPlan((Row(0, [-1], 12, 1),)),
        "more logits than tokens": StepPlan((Row(0, [1], 12, 2),)),
        "a negative number of logits": StepPlan((Row(0, [1], 12, -1),)),
        "too many tokens": StepPlan((Row(0, [1] * (info.max_batch_tokens + 1), 12, 0),)),
        "beyond the context": StepPlan((Row(0, [1], info.context_len, 1),)),
        "a negative cut": StepPlan((), (Truncate(0, -1),)),
        "freeing no slot": StepPlan((), (Free(info.num_slots),)),
        "a good operation, then a bad row": StepPlan((Row(0, [info.vocab_size], 0, 1),), (Free(0),)),
        "a cut, then a bad operation": StepPlan((), (Truncate(0, 4), Free(99))),
    }
    if isinstance(info.memory, Pages):
        first = drive.book.tables[0][0]  # type: ignore[union-attr]
        plans |= {
            "no such page": StepPlan((), (Extend(1, (info.memory.num_pages,)),)),
            "a page too many": StepPlan((), (Extend(1, tuple(range(info.context_len // info.memory.page_len + 1))),)),
            "beyond its pages": StepPlan((Row(0, [1] * (-12 % info.memory.page_len + 1), 12, 1),)),
            "writing where others read": StepPlan((Row(1, [1], 0, 1),), (Extend(1, (first,)),)),
            "copying over a page in use": StepPlan((), (CopyPage(info.memory.num_pages - 1, first),)),
            "sharing is for cells": StepPlan((), (Share(0, 1, 4),)),
        }
    else:
        plans |= {
            "sharing with a slot in use": StepPlan((), (Share(1, 0, 1),)),
            "sharing more than there is": StepPlan((), (Share(0, 1, 13),)),
            "pages are for pages": StepPlan((), (Extend(1, (0,)),)),
        }
    return plans


def test_a_bad_plan_is_refused_and_changes_nothing(drive: Drive, same: Same) -> None:
    tokens = some_tokens(17, 12)
    expected = alone(drive, [*tokens, 1], 1)
    drive.step({0: tokens}, num_logits=0)
    for what, plan in bad_plans(drive).items():
        print(what)
        with pytest.raises(PlanError):
            drive.executor.execute(plan)
    assert same(drive.step({0: [1]})[0], expected)


def test_closing_twice_is_closing(name: str, folder: Path) -> None:
    executor = FACTORIES[name](folder)
    Drive(executor).step({0: [1, 2, 3]})
    executor.close()
    executor.close()


@pytest.mark.parametrize("factory", FACTORIES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_course_of_operations_is_like_computing_afresh(factory: str, folder: Path, data: st.DataObject) -> None:
    """Random appends, shares, cuts and frees; then every slot says what its tokens say alone."""
    executor = FACTORIES[factory](folder)
    drive = Drive(executor, seed=data.draw(st.integers(0, 9)))
    texts: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
    for _ in range(data.draw(st.integers(1, 10))):
        slot, other = data.draw(st.permutations(range(4)))[:2]
        match data.draw(st.sampled_from(["append", "append", "share", "cut", "free"])):
            case "append":
                chunk = data.draw(st.lists(st.integers(0, 89), min_size=1, max_size=9))
                rows = {s: chunk for s in (slot, other) if len(texts[s]) + 9 < 90}
                for s in rows:
                    texts[s] = texts[s] + chunk
                drive.step(rows, num_logits=0)
            case "share" if texts[slot] and not texts[other]:
                num_tokens = data.draw(st.integers(1, len(texts[slot])))
                drive.share(slot, other, num_tokens)
                texts[other] = texts[slot][:num_tokens]
            case "cut" if len(texts[slot]) > 1:
                num_tokens = data.draw(st.integers(1, len(texts[slot]) - 1))
                drive.truncate(slot, num_tokens)
                texts[slot] = texts[slot][:num_tokens]
            case "free" if texts[slot]:
                drive.free(slot)
                texts[slot] = []
    got = drive.step({slot: [7] for slot in texts})
    for slot, text in texts.items():
        expected = alone(drive, [*text, 7][:64], 1) if len(text) < 64 else None
        if expected is not None:
            assert np.allclose(got[slot], expected, rtol=0, atol=ROUNDING.get(factory, 0.0))
    executor.close()
