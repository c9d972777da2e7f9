"""Whole programs: against the plain backend and transformers, and against themselves in every order of computing."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.core.errors import EngineError, SettingsError, UnsupportedModel
from publican.core.ids import SlotId
from publican.core.step import Row, StepPlan
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu import make_backend
from publican.executors.native.cpu.backend import CpuBackend
from publican.executors.native.cpu.config import CpuConfig
from publican.executors.native.loading import load
from publican.executors.native.program import Program
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import tiny
from tests.executors.native.cpu import programs

pytestmark = pytest.mark.usefixtures("library")
WEIGHTS = ["q4", "q6", "ordered", "bf16", "f32", "mixed"]


@cache
def program_of(weights: str, style: str = "llama", tied: bool = True) -> Program:
    return programs.make_program(getattr(programs, weights), style=style, tied=tied)


def tokens_of(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, programs.VOCAB, count).tolist()


@cache
def expected_logits(weights: str, style: str, tied: bool, seed: int, count: int) -> Any:
    return Drive(programs.plain(program_of(weights, style, tied))).step({0: tokens_of(seed, count)}, None)[0]


@pytest.mark.parametrize("style", ["llama", "gemma", "separate", "mixture"])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mode", ["int8", "bf16", "int8 KV"])
def test_equals_plain(weights: str, style: str, mode: str) -> None:
    tied = style != "separate"
    config = CpuConfig(2, activations="bf16" if mode == "bf16" else "int8", kv="int8" if mode == "int8 KV" else "bf16")
    executor = programs.cpu(program_of(weights, style, tied), config)
    got = Drive(executor).step({0: tokens_of(1, 90)}, None)[0]
    executor.close()
    expected = expected_logits(weights, style, tied, 1, 90)
    assert expected.std() > 0.3  # a model that says nothing proves nothing
    limits = {"int8": 0.004, "bf16": 0.0003, "int8 KV": 0.006}
    assert programs.kl(expected, got).mean() < limits[mode]


@pytest.mark.parametrize("mode", ["int8", "bf16", "int8 KV"])
@pytest.mark.parametrize(("weights", "style"), [("mixed", "llama"), ("q4", "llama"), ("mixed", "mixture")])
def test_ragged_batches_equal_one_at_a_time(weights: str, style: str, mode: str) -> None:
    """Bit for bit: chunks of several slots in one step, shared and copied pages, cut tails, beside each alone in one shot."""
    config = CpuConfig(2, activations="bf16" if mode == "bf16" else "int8", kv="int8" if mode == "int8 KV" else "bf16")
    program = program_of(weights, style)
    texts = {slot: tokens_of(slot, n) for slot, n in enumerate((300, 41, 97))}
    texts[3] = texts[0][:71] + tokens_of(9, 30)  # begins like the first: two whole pages of 32, and a piece
    executor = programs.cpu(program, config)
    alone = {}
    for slot, text in texts.items():
        drive = Drive(executor)
        drive.lengths[0] = 0
        parts = [drive.step({0: text[i : i + 128]}, None)[0] for i in range(0, len(text), 128)]
        alone[slot] = np.concatenate(parts)
        drive.free(0)
        drive.step({1: [0]})
        executor = _again(executor, program, config)
    rng = np.random.default_rng(4)
    drive = Drive(executor, seed=3)
    at = dict.fromkeys(range(3), 0)
    while any(at[slot] < len(texts[slot]) for slot in at):
        rows = {}
        for slot in at:
            size = int(rng.choice([1, 1, 2, 7, 25]))
            piece = texts[slot][at[slot] : at[slot] + size]
            if piece:
                rows[slot] = piece
        for slot, logits in drive.step(rows, None).items():
            np.testing.assert_array_equal(logits, alone[slot][at[slot] : at[slot] + len(logits)])
            at[slot] += len(logits)
        if 3 not in at and at[0] >= 71:
            drive.share(0, 3, 71)
            at[3] = 71
    drive.truncate(1, 20)
    np.testing.assert_array_equal(drive.step({1: texts[1][20:]}, None)[1], alone[1][20:])
    executor.close()


def _again(executor: Any, program: Program, config: CpuConfig) -> Any:
    executor.close()
    return programs.cpu(program, config)


@pytest.mark.parametrize("style", ["llama", "mixture"])
@pytest.mark.parametrize("num_threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same(num_threads: int, style: str) -> None:
    program = program_of("q4", style)
    text = tokens_of(5, 600)

    def run(count: int) -> Any:
        executor = programs.cpu(program, CpuConfig(count))
        drive = Drive(executor)
        for i in range(0, 599, 128):
            drive.step({0: text[i : min(i + 128, 599)]})
        last = drive.step({0: text[599:]})[0]
        executor.close()
        return last

    np.testing.assert_array_equal(run(num_threads), run(1))


def test_hidden_states() -> None:
    program = program_of("f32")
    text = tokens_of(6, 30)
    got = {}
    for name, executor in (("plain", programs.plain(program)), ("cpu", programs.cpu(program, CpuConfig(2)))):
        plan = Drive(executor).plan({0: text}, num_logits=0, num_hidden=5)
        result = executor.execute(plan)
        assert len(result.logits) == 0
        got[name] = np.array(result.hidden)
    assert got["cpu"].shape == (5, program.hidden_size)
    np.testing.assert_allclose(got["cpu"], got["plain"], atol=0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.mark.parametrize("name", tiny.MODELS)
def test_families_equal_transformers(name: str, folder: Path) -> None:
    class_name, options = tiny.MODELS[name]
    model = tiny.make(class_name, **options)
    path = tiny.save(model, folder / name.replace(" ", "-").replace(",", ""))
    config = NativeConfig(backend="cpu", context_len=64, num_slots=2, max_batch_tokens=64, max_logits=64, num_threads=2)
    executor = load(open_checkpoint(path), config)
    tokens = np.random.default_rng(1).integers(0, tiny.VOCAB, 45).tolist()
    drive = Drive(executor)
    got = np.concatenate([drive.step({1: tokens[:17]}, None)[1], drive.step({1: tokens[17:]}, None)[1]])
    executor.close()
    expected = tiny.logits(model, tokens)
    # Weights are float32; only what goes through the KV cache was rounded, to bf16.
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()
    assert programs.kl(expected, got).mean() < 1e-4


def test_the_default_model(default_model: Path) -> None:
    """Greedy tokens of a real model agree with the plain backend's; int8 rounds a little."""
    checkpoint = open_checkpoint(default_model)
    tokens = np.random.default_rng(3).integers(100, 40_000, 40).tolist()
    logits = {}
    for backend in ("plain", "cpu"):
        config = NativeConfig(backend=backend, context_len=256, num_slots=2, max_logits=64)  # type: ignore[arg-type]
        executor = load(checkpoint, config)
        logits[backend] = Drive(executor).step({0: tokens}, None)[0]
        executor.close()
    assert programs.kl(logits["plain"], logits["cpu"]).mean() < 0.015
    assert (logits["plain"].argmax(-1) == logits["cpu"].argmax(-1)).mean() > 0.8


def test_weights_are_packed_once_and_let_go() -> None:
    """A tied table is one matrix; a dense table that is not tied stays where it is."""

    def packed_bytes(program: Program) -> int:
        backend = CpuBackend(program, (4, 0), 16, 8, 8, CpuConfig(1))
        size = backend.weight_bytes
        backend.close()
        return size

    outputs = packed_bytes(program_of("q4", tied=False)) - packed_bytes(program_of("q4"))
    assert outputs == packed_bytes(program_of("q4", tied=False)) - packed_bytes(program_of("q4", tied=True)) > 0
    assert packed_bytes(program_of("bf16", tied=False)) == packed_bytes(program_of("bf16"))


def test_refusals() -> None:
    program = program_of("q4")
    with pytest.raises(UnsupportedModel, match="multiple of 16"):
        CpuBackend(program, (4, 0), 10, 8, 8, CpuConfig(1))
    with pytest.raises(EngineError, match="cannot run that variant"):
        CpuBackend(program, (4, 0), 16, 8, 8, CpuConfig(1, variant="avx1024"))
    with pytest.raises(SettingsError, match="bf16, q8 or q4"):
        make_backend(program, NativeConfig(backend="cpu", kv_dtype="f16"))
    executor = programs.cpu(program, CpuConfig(1))
    executor.close()
    executor.close()
    with pytest.raises(EngineError, match="closed"):
        executor._backend.run(None)  # type: ignore[arg-type]


def test_an_empty_plan_is_refused_or_empty() -> None:
    """No rows at all: nothing is computed, and nothing breaks."""
    executor = programs.cpu(program_of("q4"), CpuConfig(2))
    drive = Drive(executor)
    drive.step({0: tokens_of(0, 5)})
    plan = StepPlan((Row(SlotId(0), [1], 5, 0),))
    drive.plan({0: [1]}, 0)
    assert len(executor.execute(plan).logits) == 0
    executor.close()


@pytest.mark.parametrize(("options", "limit"), [({}, 0.004), ({"quality": True}, 0.0003), ({"kv_dtype": "q8"}, 0.006)])
def test_what_a_host_may_choose(options: dict[str, Any], limit: float) -> None:
    """`quality` is more exact, and a q8 cache less."""
    program = program_of("q4")
    config = NativeConfig(
        backend="cpu",
        num_pages=programs.NUM_SLOTS * programs.CONTEXT // programs.PAGE_LEN,
        page_len=programs.PAGE_LEN,
        max_batch_tokens=programs.MAX_TOKENS,
        max_logits=programs.MAX_LOGITS,
    )
    backend = make_backend(program, dataclasses.replace(config, **options))
    got = Drive(programs.executor_of(backend, program)).step({0: tokens_of(1, 90)}, None)[0]
    backend.close()
    assert 1e-7 < programs.kl(expected_logits("q4", "llama", True, 1, 90), got).mean() < limit
