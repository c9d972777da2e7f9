"""Every kernel through Triton's real compiler to machine code, which needs no card: the interpreter lets much pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
SCRIPT = Path(__file__).with_name("compile_kernels.py")


@pytest.mark.slow
def test_every_kernel_compiles_and_keeps_to_registers(tmp_path: Path) -> None:
    """In a process of its own: in this one kernels are interpreted. For Ampere, which has the least room."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, str(SCRIPT), "80"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=SCRIPT.parents[4], check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) >= 12
    assert all(int(line[2]) <= 101_376 for line in lines), done.stdout  # shared memory of a block on a card at home
    assert all(int(line[-1]) <= 128 for line in lines), done.stdout  # bytes a thread: the gemm of short groups keeps 104
