from pathlib import Path

from publican.hardware.machine import described_machine, read_machine, read_this_machine
from publican.hardware.sizes import GIB
from tests.hardware.fake_nvml import Card, FakeNvml


def test_this_machine_has_something():
    machine = read_machine()
    assert machine.num_cores >= 1
    assert 0 < machine.available_bytes <= machine.total_bytes


def test_a_container_has_less(tmp_path: Path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    machine = read_machine(tmp_path)
    assert (machine.num_cores, machine.total_bytes, machine.available_bytes) == (1, 1_000_000, 600_000)


def test_an_unlimited_container_has_all(tmp_path: Path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert read_machine(tmp_path).total_bytes == read_machine(tmp_path / "none").total_bytes


def test_file_pages_that_a_container_would_give_back_are_free(tmp_path: Path):
    """A model that was just downloaded fills the page cache; that must not look like memory in use."""
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 300000\ninactive_file 600000\ngarbage\n")
    assert read_machine(tmp_path).available_bytes == 700_000


def test_cards_are_part_of_the_machine():
    machine = read_machine(nvml=FakeNvml(Card(), Card("GB10", None)))
    assert [gpu.name for gpu in machine.gpus] == ["NVIDIA GeForce RTX 3090", "GB10"]
    assert machine.is_unified
    assert machine.gpus[1].total_bytes == machine.total_bytes


def test_this_machine_says_why_it_has_no_cards():
    machine = read_this_machine()
    assert machine.gpus or machine.gpu_note


def test_a_machine_in_words():
    machine = described_machine((24 * GIB, 12 * GIB), 64 * GIB, 16)
    assert [(gpu.free_bytes, gpu.index) for gpu in machine.gpus] == [(24 * GIB, 0), (12 * GIB, 1)]
    assert (machine.available_bytes, machine.num_cores, machine.is_unified) == (64 * GIB, 16, False)
