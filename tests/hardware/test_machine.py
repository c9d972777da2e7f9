from pathlib import Path

from publican.hardware.machine import read_machine


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
