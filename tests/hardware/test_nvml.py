"""GPUs through a made-up NVML; and through the real binding, which on a machine without a driver must say so and no more."""

from __future__ import annotations

import threading

import pynvml
import pytest

from publican.hardware.nvml import free_bytes, load_nvml, read_gpus, read_gpus_in_time
from publican.hardware.sizes import GIB
from tests.hardware.fake_nvml import Card, FakeNvml

RAM = (64 * GIB, 50 * GIB)


def test_total_free_and_what_others_hold():
    nvml = FakeNvml(Card(processes={10: 2 * GIB, 11: GIB}), Card(b"NVIDIA A40", 45 * GIB, 44 * GIB, "GPU-1"))
    first, second = read_gpus(nvml, RAM).found
    assert (first.name, first.total_bytes, first.free_bytes) == ("NVIDIA GeForce RTX 3090", 24 * GIB, 23 * GIB)
    assert (first.others_bytes, first.index, first.is_unified) == (3 * GIB, 0, False)
    assert (second.name, second.index, second.others_bytes) == ("NVIDIA A40", 1, 0)
    assert nvml.depth == 0  # every session is closed


def test_a_process_that_draws_and_computes_counts_once():
    nvml = FakeNvml(Card(processes={10: GIB}, drawing={10: GIB, 12: GIB // 2}))
    assert read_gpus(nvml, RAM).found[0].others_bytes == GIB + GIB // 2


def test_a_driver_that_does_not_tell_who_holds_what():
    """Windows and containers: the size is known, the owners are not."""
    nvml = FakeNvml(Card(processes={10: None}, free=10 * GIB))
    (gpu,) = read_gpus(nvml, RAM).found
    assert (gpu.free_bytes, gpu.others_bytes) == (10 * GIB, 0)


def test_memory_that_is_shared_with_the_processor():
    (gpu,) = read_gpus(FakeNvml(Card("NVIDIA GB10", None)), RAM).found
    assert (gpu.is_unified, gpu.total_bytes, gpu.free_bytes) == (True, *RAM)


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, [0, 1]),
        ("1", [1]),
        ("0,1", [0, 1]),
        ("1, 0", [1, 0]),
        ("GPU-b,0", [1, 0]),
        ("0,7,1", [0]),
        ("GPU-b", [1]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_only_what_cuda_leaves_visible(visible, seen):
    nvml = FakeNvml(Card(uuid="GPU-aaaa"), Card(uuid="GPU-bbbb"))
    gpus = read_gpus(nvml, RAM, visible)
    assert [gpu.index for gpu in gpus.found] == seen
    assert bool(gpus.note) == (not seen)


def test_a_divided_card_is_one_slice_of_it():
    parts = [Card("A100 MIG 1g.5gb", 5 * GIB, 4 * GIB, "MIG-1"), Card("A100 MIG 3g.20gb", 20 * GIB, 19 * GIB, "MIG-2")]
    gpus = read_gpus(FakeNvml(Card("A100", 40 * GIB, slices=parts)), RAM)
    assert [gpu.uuid for gpu in gpus.found] == ["MIG-2"]
    assert "MIG" in gpus.note


def test_no_binding_no_driver_no_card():
    assert "nvidia-ml-py" in read_gpus(None, RAM).note
    assert "Not Found" in read_gpus(FakeNvml(driver=False), RAM).note
    assert "no NVIDIA GPU" in read_gpus(FakeNvml(), RAM).note
    assert free_bytes(None) == free_bytes(FakeNvml(driver=False)) == free_bytes(FakeNvml()) == 0


def test_what_is_free_of_all_cards():
    assert free_bytes(FakeNvml(Card(free=10 * GIB), Card(free=GIB))) == 11 * GIB
    assert free_bytes(FakeNvml(Card(total=None))) == 0


def test_the_real_binding_has_every_function_that_the_fake_has():
    assert load_nvml() is pynvml
    assert [name for name in vars(FakeNvml) if name.startswith("nvml") and not hasattr(pynvml, name)] == []
    assert issubclass(pynvml.NVMLError, Exception)


def test_the_real_binding_here():
    """With a driver there are cards, without one there is a reason; nothing is raised either way."""
    gpus = read_gpus(pynvml, RAM)
    assert gpus.found or gpus.note


class Hung(FakeNvml):
    """A driver that never comes back; the test lets it go at its end."""

    def __init__(self) -> None:
        super().__init__(Card())
        self.let_go = threading.Event()

    def nvmlInit(self) -> None:
        self.let_go.wait(60)
        raise self.NVMLError("at last")


def test_a_driver_that_hangs_counts_as_none() -> None:
    nvml = Hung()
    gpus = read_gpus_in_time(nvml, RAM, patience_s=0.05)
    nvml.let_go.set()
    assert not gpus.found
    assert "did not answer" in gpus.note


def test_in_time_it_is_as_without_a_limit() -> None:
    nvml = FakeNvml(Card(uuid="GPU-aaaa"), Card(uuid="GPU-bbbb"))
    assert read_gpus_in_time(nvml, RAM, "1") == read_gpus(nvml, RAM, "1")
    assert "CUDA_VISIBLE_DEVICES" in read_gpus_in_time(nvml, RAM, "").note
    with pytest.raises(TypeError):
        read_gpus_in_time(FakeNvml(Card(total="much")), RAM)  # type: ignore[arg-type]  # what is our mistake is not hidden
