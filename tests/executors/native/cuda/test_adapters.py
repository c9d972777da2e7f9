"""Adapters on the cuda backend: with the twins and with the kernels against `plain`, and what a graph is padded with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

from publican.core.executor import ExecutorInfo, Pages
from publican.executors.native.config import NativeConfig
from publican.executors.native.cuda.adapters import Adapt
from publican.executors.native.cuda.graphs import pad
from publican.executors.native.cuda.steps import ProjectAdd
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.layout import DenseMatrix
from publican.executors.native.loading import describe
from publican.executors.native.plain.backend import PlainBackend
from publican.executors.native.program import Linear, LowRank, Program
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import lora_files, tiny
from tests.executors.native.cpu import programs
from tests.executors.native.cuda.on_cpu import backend_of
from tests.executors.native.cuda.test_graphs import a_batch

MEMORY = Pages(16, 40)
ADAPTERS = {0: 1, 2: 0, 3: 2}
"""Of each slot; slot 1 has none."""


def info_of(program: Program) -> ExecutorInfo:
    measures = program.vocab_size, 200, 4, 128, 128, MEMORY, program.hidden_size
    return ExecutorInfo("native", "", *measures, num_adapters=program.num_adapters)


def course(program: Program, backend: Any, adapters: dict[int, int], slots: tuple[int, ...] = (0, 1, 2, 3)) -> list[Any]:
    """Prompts, and then a token each."""
    drive = Drive(NativeExecutor(info_of(program), backend))
    drive.adapters = {slot: number for slot, number in adapters.items() if slot in slots}
    rng = np.random.default_rng(0)
    prompts = {slot: rng.integers(0, programs.VOCAB, 3 + 11 * slot).tolist() for slot in range(4)}
    steps = [drive.step({slot: prompts[slot] for slot in slots}), drive.step({slot: [slot + 1] for slot in slots})]
    return [step[slot] for step in steps for slot in slots]


def compare(program: Program, atol: float, **changes: Any) -> None:
    plain = PlainBackend(program, MEMORY.num_pages, MEMORY.page_len)
    expected = course(program, plain, ADAPTERS)
    got = course(program, backend_of(program, info_of(program), **changes), ADAPTERS)
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=atol)
    bare = course(program, plain, {}) if not changes else []
    assert not bare or np.abs(bare[0] - expected[0]).max() > 0.1  # they do matter


@pytest.mark.parametrize("style", ["llama", "gemma", "separate"])
@pytest.mark.parametrize("weights", [programs.f32, programs.mixed], ids=["f32", "mixed"])
def test_with_twins(style: str, weights: Any) -> None:
    compare(programs.with_adapters(programs.make_program(weights, style=style)), 3e-4)


def test_with_kernels() -> None:
    compare(programs.with_adapters(programs.make_program(programs.q4, layers=1)), 3e-4, kernels="triton")


def test_rows_without_are_as_in_a_step_without() -> None:
    program = programs.with_adapters(programs.make_program(programs.mixed))
    backend = backend_of(program, info_of(program))
    mixed = course(program, backend, ADAPTERS)
    bare = course(program, backend_of(program, info_of(program)), {})
    np.testing.assert_allclose(mixed[1], bare[1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(mixed[5], bare[5], rtol=0, atol=1e-5)


def test_what_is_infinite_in_one_adapter_stays_there() -> None:
    program = programs.with_adapters(programs.make_program(programs.f32))

    def spoilt(each: LowRank) -> LowRank:
        down = DenseMatrix(np.full(each.down.shape, np.inf, np.float32))
        return replace(each, down=down) if each.adapter == 2 else each

    ops = (replace(op, adapters=tuple(map(spoilt, op.adapters))) if isinstance(op, Linear) else op for op in program.ops)
    spoilt_program = replace(program, ops=tuple(ops))
    got = course(spoilt_program, backend_of(spoilt_program, info_of(program)), ADAPTERS)
    sound = course(program, backend_of(program, info_of(program)), ADAPTERS)
    for slot in (0, 1, 2):
        np.testing.assert_allclose(got[slot], sound[slot], rtol=0, atol=1e-5)


def test_a_model_without_runs_what_it_always_ran() -> None:
    program = programs.make_program(programs.q4)
    adapted = programs.with_adapters(program)
    kinds = [[type(each) for each in backend_of(p, info_of(p))._stages[0].instructions] for p in (program, adapted)]
    assert Adapt not in kinds[0]
    assert [kind for kind in kinds[1] if kind is not Adapt] == kinds[0]
    norms = [
        each.norm for each in backend_of(adapted, info_of(adapted))._stages[0].instructions if isinstance(each, ProjectAdd)
    ]
    assert sum(norm is not None for norm in norms) == len(norms) - 1  # they still join; the last one is the output's


def test_a_padded_step_has_none_in_its_padding() -> None:
    batch = replace(a_batch({0: 1, 3: 1}, {0: 40, 3: 7}), adapters=np.array([2, -1], np.int32))
    padded = pad(batch, (4, 16), (99, 99))
    assert padded.adapters is not None
    assert padded.adapters.tolist() == [2, -1, -1, -1]
    assert pad(a_batch({0: 1}), (2, 16), (99, 99)).adapters is None


def test_a_file_through_the_loader_equals_transformers(tmp_path: Path) -> None:
    model = tiny.make("Qwen3", head_dim=16)
    adapter = lora_files.adapter(tmp_path / "some", model, rank=9)
    config = NativeConfig(context_len=64, num_slots=4, num_pages=40, page_len=16, max_batch_tokens=128, max_logits=128)
    program, info, _ = describe(open_checkpoint(tiny.save(model, tmp_path / "model")), config, None, [adapter])
    drive = Drive(NativeExecutor(info, backend_of(program, info)))
    drive.adapters = {0: 0}
    text = np.random.default_rng(1).integers(0, tiny.VOCAB, 40).tolist()
    got = drive.step({0: text, 1: text}, None)
    np.testing.assert_allclose(got[0], tiny.logits(lora_files.merged(model, adapter.path), text), rtol=0, atol=3e-4)
    np.testing.assert_allclose(got[1], tiny.logits(model, text), rtol=0, atol=3e-4)
