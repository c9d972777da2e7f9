"""Adapters on the C++ operations: against the plain backend, and bit for bit against themselves alone."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.core.errors import EngineError
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu import records
from publican.executors.native.cpu.config import CpuConfig
from publican.executors.native.cpu.library import Engine, supported_variants
from publican.executors.native.loading import load
from publican.executors.native.program import Program
from publican.store.checkpoint import open_checkpoint
from tests.executors.drive import Drive
from tests.executors.native import lora_files, tiny
from tests.executors.native.cpu import programs
from tests.executors.native.cpu.conftest import ALL_VARIANTS
from tests.executors.native.cpu.harness import Harness

pytestmark = pytest.mark.usefixtures("library")
ADAPTERS = {0: 0, 1: -1, 2: 1, 3: 0, 4: 2}
"""Of each slot."""


@cache
def program_of(weights: str, style: str) -> Program:
    return programs.with_adapters(programs.make_program(getattr(programs, weights), style=style, tied=False), seed=len(style))


def texts() -> dict[int, list[int]]:
    rng = np.random.default_rng(7)
    return {slot: rng.integers(0, programs.VOCAB, 5 + 9 * slot).tolist() for slot in ADAPTERS}


def logits(executor: Any, slots: list[int]) -> dict[int, Any]:
    """Of all tokens of those slots, computed in one step and the last ones in a second."""
    drive = Drive(executor)
    drive.adapters = {slot: ADAPTERS[slot] for slot in slots}
    first = drive.step({slot: texts()[slot][:-1] for slot in slots}, None)
    last = drive.step({slot: texts()[slot][-1:] for slot in reversed(slots)}, None)
    executor.close()
    return {slot: np.concatenate([first[slot], last[slot]]) for slot in slots}


@cache
def expected(weights: str, style: str) -> dict[int, Any]:
    return logits(programs.plain(program_of(weights, style)), list(ADAPTERS))


@pytest.mark.parametrize("variant", ALL_VARIANTS)
@pytest.mark.parametrize("style", ["llama", "gemma", "separate"])
def test_every_variant_equals_plain(style: str, variant: str, library: ctypes.CDLL) -> None:
    if variant not in supported_variants(library):
        pytest.skip(f"this CPU cannot run {variant}")
    config = CpuConfig(3, activations="bf16", variant=variant)
    got = logits(programs.cpu(program_of("f32", style), config), list(ADAPTERS))
    for slot, rows in expected("f32", style).items():
        assert programs.kl(rows, got[slot]).mean() < 0.0003
    assert programs.kl(expected("f32", style)[0][:5], expected("f32", style)[1][:5]).mean() > 0.05  # they do matter


@pytest.mark.parametrize("mode", ["int8", "bf16"])
@pytest.mark.parametrize("weights", ["q4", "mixed"])
def test_beside_codes_they_equal_plain_as_closely_as_codes_do(weights: str, mode: Any) -> None:
    got = logits(programs.cpu(program_of(weights, "llama"), CpuConfig(2, activations=mode)), list(ADAPTERS))
    for slot, rows in expected(weights, "llama").items():
        assert programs.kl(rows, got[slot]).mean() < {"int8": 0.006, "bf16": 0.0005}[mode]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("weights", ["mixed", "f32"])
def test_mixed_is_as_alone_to_the_last_bit(weights: str, threads: int) -> None:
    program, config = program_of(weights, "separate"), CpuConfig(threads)
    together = logits(programs.cpu(program, config), list(ADAPTERS))
    for slot in ADAPTERS:
        assert np.array_equal(together[slot], logits(programs.cpu(program, config), [slot])[slot])


def test_rows_without_are_as_in_a_model_without_to_the_last_bit() -> None:
    program = program_of("mixed", "gemma")
    bare = programs.make_program(programs.mixed, style="gemma", tied=False)
    with_them = logits(programs.cpu(program, CpuConfig(2)), list(ADAPTERS))[1]
    drive = Drive(programs.cpu(bare, CpuConfig(2)))
    text = texts()[1]
    first, last = drive.step({0: text[:-1]}, None)[0], drive.step({0: text[-1:]}, None)[0]
    assert np.array_equal(with_them, np.concatenate([first, last]))


def test_a_file_through_the_loader_equals_transformers(tmp_path: Path) -> None:
    model = tiny.make("Phi3", sliding_window=11)
    adapter = lora_files.adapter(tmp_path / "some", model, rank=9)
    config = NativeConfig("cpu", context_len=64, num_slots=2, max_logits=128, num_threads=2, quality=True)
    drive = Drive(load(open_checkpoint(tiny.save(model, tmp_path / "model")), config, None, [adapter]))
    drive.adapters = {0: 0}
    text = np.random.default_rng(1).integers(0, tiny.VOCAB, 40).tolist()
    got = drive.step({0: text, 1: text}, None)
    merged = lora_files.merged(model, adapter.path)
    assert programs.kl(tiny.logits(merged, text), got[0]).mean() < 0.001
    assert programs.kl(tiny.logits(model, text), got[1]).mean() < 0.001
    assert programs.kl(tiny.logits(model, text), got[0]).mean() > 0.1


@pytest.mark.parametrize(
    ("field", "value"),
    [("inner", -1), ("inner", 30), ("first_panel", -1), ("first_panel", 2), ("matrix", None)],
)
def test_records_that_are_not_sound_are_refused(field: str, value: Any, any_engine: Engine) -> None:
    rng = np.random.default_rng(0)
    h = Harness(any_engine, {"x": 20, "y": 40, "inner": 16}, 2)
    base, up = h.packer.pack(programs.f32(rng, 40, 20)), h.packer.pack(programs.f32(rng, 20, 4))
    record = records.PcpuUp(ctypes.pointer(up.record), 0, 0, 0)
    part = h.part("x", "y", base, True)
    for sound in (True, False):
        h.ops.clear()
        if not sound:
            setattr(record, field, value)
        part.adapted = records.PcpuUps(h.buffers["inner"], (records.PcpuUp * 1)(record), 1)
        h.linear(part)
        if sound:
            h.run()
            continue
        with pytest.raises(EngineError, match="not sound"):
            h.run()
