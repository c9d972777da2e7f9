"""The whole backend against `plain`: with the twins and with the kernels, on one device and on several."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from publican.core.errors import EngineError, OutOfMemory, SettingsError
from publican.core.executor import ExecutorInfo, Pages
from publican.executors.native import cuda
from publican.executors.native.batch import Backend
from publican.executors.native.config import NativeConfig
from publican.executors.native.cuda.steps import ProjectAdd
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.plain.backend import PlainBackend
from publican.executors.native.program import Program
from tests.executors.drive import Drive
from tests.executors.native.cpu.programs import bf16, f32, make_program, mixed, ordered, q4, q6
from tests.executors.native.cuda.on_cpu import backend_of

MEMORY = Pages(16, 30)
Make = Callable[..., Program]


def info_of(program: Program) -> ExecutorInfo:
    return ExecutorInfo("native", "", program.vocab_size, 200, 4, 128, 128, MEMORY, program.hidden_size)


def drive(program: Program, backend: Backend) -> Drive:
    return Drive(NativeExecutor(info_of(program), backend))


def course(driven: Drive, lengths: tuple[int, int]) -> list[np.ndarray]:
    """Prompts, decoding beside a prompt, shared pages, a cut."""
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 75, n).tolist() for n in (*lengths, 3)]
    seen = [driven.step({0: tokens[0], 1: tokens[1]})]
    driven.share(1, 2, 40)
    seen.append(driven.step({0: [5], 2: tokens[2], 1: [9]}))
    driven.truncate(1, 33)
    seen.append(driven.step({1: [7]}))
    return [logits[slot] for logits in seen for slot in sorted(logits)]


def compare(program: Program, atol: float, lengths: tuple[int, int] = (20, 70), **changes: Any) -> None:
    expected = course(drive(program, PlainBackend(program, MEMORY.num_pages, MEMORY.page_len)), lengths)
    got = course(drive(program, backend_of(program, info_of(program), **changes)), lengths)
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=atol)


@pytest.mark.parametrize("style", ["llama", "gemma", "separate"])
@pytest.mark.parametrize("weights", [q4, q6, ordered, bf16, f32, mixed], ids=lambda f: f.__name__)
def test_with_twins(style: str, weights: Any) -> None:
    compare(make_program(weights, style=style, tied=style != "gemma"), 2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("style", "weights", "lengths"), [("llama", q4, (2, 64)), ("gemma", ordered, (4, 41))])
def test_with_kernels(style: str, weights: Any, lengths: tuple[int, int]) -> None:
    """Steps of 66 tokens, which weights are dequantised for, of some, and of one."""
    compare(make_program(weights, style=style, layers=1), 2e-4, lengths, kernels="triton")


@pytest.mark.parametrize(("dtype", "atol"), [("bf16", 0.1), ("f16", 0.02)])
def test_activations_and_cache_of_half_width(dtype: str, atol: float) -> None:
    compare(make_program(q4), atol, dtype=dtype, kv_dtype=dtype, exact_scales=False)


def test_a_cache_of_eight_bits() -> None:
    """Copied pages take their scales along."""
    compare(make_program(q4), 0.05, kv_dtype="q8")


@pytest.mark.parametrize("kernels", ["torch", pytest.param("triton", marks=pytest.mark.slow)])
def test_a_cache_of_four_bits(kernels: str) -> None:
    """Beside the plain backend's own: the same but for the steps' rounding, and where that makes another code of a number."""
    program = make_program(q4, layers=1)
    plain = PlainBackend(program, MEMORY.num_pages, MEMORY.page_len, "q4")
    lengths = (2, 64) if kernels == "triton" else (20, 70)
    expected = course(drive(program, plain), lengths)
    got = course(drive(program, backend_of(program, info_of(program), kv_dtype="q4", kernels=kernels)), lengths)
    off = np.concatenate([(one - other).ravel() for one, other in zip(expected, got, strict=True)])
    exact = course(drive(program, PlainBackend(program, MEMORY.num_pages, MEMORY.page_len)), lengths)
    lost = np.concatenate([(one - other).ravel() for one, other in zip(exact, expected, strict=True)])
    assert off.std() < 0.5 * lost.std()


def test_layers_on_several_devices() -> None:
    """Both are the CPU; the first has room for one layer of three."""
    program = make_program(q4, layers=3, tied=True)
    layer_bytes = 2 * 31 * 2 * 16 * 32 * 4
    split = (130_000 + 1.5 * layer_bytes) / 2**30, 1.0
    compare(program, 2e-4, devices=("cpu", "cpu"), budgets_gb=split)
    backend = backend_of(program, info_of(program), devices=("cpu", "cpu"), budgets_gb=split)
    assert [stage.layers for stage in backend._stages] == [[0], [1, 2]]


def test_a_split_that_is_too_small_is_refused() -> None:
    program = make_program(q4)
    with pytest.raises(OutOfMemory, match=r"0\.0 \+ 0\.0 GB"):
        backend_of(program, info_of(program), devices=("cpu", "cpu"), budgets_gb=(1e-6, 1e-6))
    with pytest.raises(SettingsError, match="names 3 cards, and 2"):
        backend_of(program, info_of(program), devices=("cpu", "cpu"), budgets_gb=(1.0, 1.0, 1.0))


def test_warming_up_leaves_no_trace() -> None:
    program = make_program(q4)
    backend = backend_of(program, info_of(program))
    before = backend.caches[0].data[:, :, :-1].clone()
    backend.warm_up()
    assert torch.equal(backend.caches[0].data[:, :, :-1].nan_to_num(), before.nan_to_num())
    assert not torch.equal(backend.caches[0].data[:, :, -1], torch.zeros_like(backend.caches[0].data[:, :, -1]))


def test_norms_join_the_additions_before_them() -> None:
    backend = backend_of(make_program(q4), info_of(make_program(q4)))
    added = [each for each in backend._stages[0].instructions if isinstance(each, ProjectAdd)]
    assert [each.norm is not None for each in added] == [True, True, True, False]  # the last one's is `Output`'s


def test_logits_are_tensors_that_may_be_written_to() -> None:
    program = make_program(f32)
    driven = drive(program, backend_of(program, info_of(program)))
    logits = driven.executor.execute(driven.plan({0: [1, 2, 3]})).logits
    assert isinstance(logits, torch.Tensor)
    logits[0, 0] = 7.0
    logits.neg_()


def test_hidden_states_without_logits() -> None:
    program = make_program(f32)
    driven = drive(program, backend_of(program, info_of(program)))
    result = driven.executor.execute(driven.plan({0: [1, 2, 3]}, num_logits=0, num_hidden=2))
    assert result.logits.shape == (0, 75)
    assert result.hidden.shape == (2, 96)


def test_a_closed_backend_says_so() -> None:
    program = make_program(f32)
    backend = backend_of(program, info_of(program))
    driven = drive(program, backend)
    plan = driven.plan({0: [1]})
    backend.close()
    backend.close()
    with pytest.raises(EngineError, match="closed"):
        driven.executor.execute(plan)


def test_a_card_that_fails_is_an_engines_error(monkeypatch: pytest.MonkeyPatch) -> None:
    program = make_program(f32)
    backend = backend_of(program, info_of(program))

    def fail(*arguments: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nand much more")

    monkeypatch.setattr(backend._ops, "norm", fail)
    driven = drive(program, backend)
    with pytest.raises(EngineError, match=r"illegal memory access was encountered\)"):
        driven.executor.execute(driven.plan({0: [1]}))


def test_memory_that_does_not_suffice_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    program = make_program(f32)
    backend = backend_of(program, info_of(program))

    def fail(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend._ops, "norm", fail)
    driven = drive(program, backend)
    with pytest.raises(EngineError, match="memory did not suffice"):
        driven.executor.execute(driven.plan({0: [1]}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without an NVIDIA card")
def test_without_a_card_it_says_what_is_missing() -> None:
    with pytest.raises(SettingsError, match="NVIDIA"):
        cuda.make_backend(make_program(f32), NativeConfig("cuda"))


def test_a_cache_of_heads_that_the_kernels_do_not_know_is_refused():
    program = dataclasses.replace(make_program(f32), head_dim=80)
    with pytest.raises(SettingsError, match="heads of 80 numbers in bf16, f16, f32 or q8, and q4 was asked for"):
        cuda.make_backend(program, NativeConfig("cuda", kv_dtype="q4"))
