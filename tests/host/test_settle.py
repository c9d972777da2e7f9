"""A model goes where there is room, unless somebody said where."""

from __future__ import annotations

import pytest

from publican.core.errors import OutOfMemory, UnsupportedModel
from publican.hardware.machine import described_machine
from publican.hardware.shapes import SHAPES
from publican.hardware.sizes import GIB
from publican.host.choose import Available, Chosen
from publican.host.fit import Fit
from publican.host.fit_shape import described_model
from publican.host.options import LoadOptions
from publican.host.settle import settle

GGUF = Available(cuda=True, cpu=True, llama=True, native_objection=None, is_gguf=True, llama_gpu=True)
FOLDER = Available(cuda=True, cpu=True, llama=True, native_objection=None, is_gguf=False, llama_gpu=True)


def settled(here: Available, gpu: float, ram: float, **options) -> tuple[Chosen, Fit]:
    model = described_model("m", SHAPES["llama-2-70b"], 4, 128)
    machine = described_machine((int(gpu * GIB),), int(ram * GIB), 8)
    return settle(model, here, LoadOptions(**options), machine)


def test_on_the_card_if_it_fits():
    chosen, it = settled(GGUF, 48, 64)
    assert (chosen.loader, chosen.backend) == ("native", "cuda")
    assert it.plan.output_on_gpu


def test_partly_in_memory_if_it_does_not():
    chosen, it = settled(GGUF, 24, 64)
    assert chosen.loader == "llama"
    assert 0 < it.gpu_layers < 80
    assert "too large for the GPUs" in chosen.why


def test_wholly_in_memory_if_libllama_does_not_read_it():
    chosen, it = settled(FOLDER, 24, 64)
    assert (chosen.loader, chosen.backend) == ("native", "cpu")
    assert it.plan.gpu_layers == 0


def test_what_somebody_said_stands():
    with pytest.raises(OutOfMemory, match="GPU 0"):
        settled(GGUF, 24, 64, backend="cuda")
    with pytest.raises(OutOfMemory, match="GPU 0"):
        settled(GGUF, 24, 64, loader="native")


def test_no_room_anywhere_is_said_of_the_first_choice():
    with pytest.raises(OutOfMemory, match="GPU 0"):
        settled(GGUF, 8, 8)


def test_a_libllama_without_gpus_plans_memory_only():
    here = Available(cuda=False, cpu=True, llama=True, native_objection="It is a mamba.", is_gguf=True, llama_gpu=False)
    chosen, it = settled(here, 24, 64)
    assert chosen.loader == "llama"
    assert [share.device.is_gpu for share in it.plan.shares] == [False]


def test_nothing_runs_it():
    here = Available(cuda=True, cpu=True, llama=False, native_objection="It is a mamba.", is_gguf=False)
    with pytest.raises(UnsupportedModel):
        settled(here, 80, 64)
