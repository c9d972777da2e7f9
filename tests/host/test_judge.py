"""What the store is told of models: whether they run here and how much of them fits, from headers alone."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from publican.core.model import Checkpoint, TensorInfo
from publican.executors.native.cpu.library import LibraryMissing
from publican.hardware.machine import described_machine
from publican.host import available as host_available
from publican.host.judge import make_judge
from publican.store.checkpoint import open_checkpoint

GIB = 1 << 30
HERE = make_judge(described_machine((), 8 * GIB, 4), 2048, 1)


def far_away(checkpoint: Checkpoint) -> Checkpoint:
    """The same headers of files that are not here."""
    tensors = {name: replace(info, file=Path("org/repo@0") / info.file.name) for name, info in checkpoint.tensors.items()}
    return replace(checkpoint, tensors=tensors)


def test_the_default_model_fits_more_of_it_in_more_memory(default_model: Path) -> None:
    checkpoint = far_away(open_checkpoint(default_model))
    found = []
    for gib in (0.8, 2, 8):
        judge = make_judge(described_machine((), int(gib * GIB), 4), 2048, 4)
        fitting = judge.fits(checkpoint, checkpoint.num_bytes)
        assert fitting is not None
        assert "of memory" in fitting.where
        assert fitting.fits == (fitting.num_users >= 4)
        found.append(fitting)
    assert found[0].num_users <= found[1].num_users <= found[2].num_users
    assert found[2].fits
    assert found[2].context_len == 8192


def test_a_larger_quant_leaves_less_room(default_model: Path) -> None:
    checkpoint = open_checkpoint(default_model)
    judge = make_judge(described_machine((), 1 * GIB, 4), 512, 1)
    users = []
    for size in (0.5, 1.0, 2.0):
        fitting = judge.fits(checkpoint, int(size * checkpoint.num_bytes))
        assert fitting is not None
        users.append(fitting.num_users)
    assert users == sorted(users, reverse=True)
    assert users[-1] < users[0]


def test_gpus_are_counted_where_they_can_be_used(default_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_available, "_has_torch", lambda: True)
    judge = make_judge(described_machine((24 * GIB, 24 * GIB), 64 * GIB, 8), None, 4)
    fitting = judge.fits(open_checkpoint(default_model), 98_000_000)
    assert fitting is not None
    assert (fitting.fits, "2 GPUs" in fitting.where) == (True, True)


def test_what_runs_here(default_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the files, and whether libllama is here or not."""
    checkpoint = far_away(open_checkpoint(default_model))
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "llama_cpp" else real(name, *rest))
    assert HERE.objection(checkpoint) is None
    strange = replace(checkpoint, spec=None, metadata={"general.architecture": "mamba"})
    assert "pip install 'publican[llama]'" in str(HERE.objection(strange))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: ModuleSpec(name, None))
    assert HERE.objection(strange) is None


def test_a_library_that_is_not_built_is_not_complained_of_for_each_quant(
    default_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing() -> None:
        raise LibraryMissing("It was not compiled.")

    monkeypatch.setattr(host_available, "load_library", missing)
    checkpoint = open_checkpoint(default_model)
    for _ in range(3):
        assert HERE.fits(checkpoint, checkpoint.num_bytes) is not None
        assert HERE.objection(checkpoint) is None
    assert not caplog.records
    assert not host_available.available(checkpoint, described_machine((), GIB, 4)).cpu
    assert [record.getMessage()[:20] for record in caplog.records] == ["It was not compiled."]


def test_formats_that_are_not_read_are_refused_by_name() -> None:
    info = TensorInfo("model.layers.0.q_proj.W_q", "U8", (1, 1), Path("x"), 0, 1)
    metadata: dict[str, Any] = {"model_type": "llama"}
    checkpoint = Checkpoint("x", Path("x"), "safetensors", None, {info.name: info}, metadata)
    assert "not run" in str(HERE.objection(checkpoint))
