"""The team of threads: it ends, it sleeps, and a busy neighbour slows it without stopping it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publican.executors.native.cpu import compile as compiling
from publican.executors.native.cpu.library import Engine
from publican.executors.native.cpu.threads import num_physical_cores


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_threads_end_with_the_engine(library: Any) -> None:
    """In a process of its own: threads of other tests come and go in this one."""
    subprocess.run([sys.executable, "-c", _COUNTING, library._name], check=True, timeout=60)


_COUNTING = """
import gc, os, sys
from pathlib import Path
from publican.executors.native.cpu.library import Engine, load_library

def num_threads():
    return len(os.listdir("/proc/self/task"))

library = load_library(Path(sys.argv[1]))
before = num_threads()
engine = Engine(library, 9)
assert num_threads() == before + 8
engine.close()
engine.close()
assert num_threads() == before
forgotten = Engine(library, 4)
del forgotten
gc.collect()
assert num_threads() == before
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_idle_team_sleeps(library: Any) -> None:
    engine = Engine(library, 3)
    row = np.zeros((3, 64), np.float32)
    engine.top(row, 1)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1
    engine.top(row, 1)  # and wakes up
    engine.close()


def test_many_more_threads_than_cores_still_finish(library: Any) -> None:
    """Barriers yield: with 40 threads on a few cores, and a neighbour that spins, steps go on."""
    engine = Engine(library, 40)
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        rows = np.random.default_rng(0).standard_normal((40, 1000)).astype(np.float32)
        start = time.perf_counter()
        for _ in range(30):
            assert (engine.top(rows, 1)[0][:, 0] == rows.argmax(1)).all()
        assert time.perf_counter() - start < 60
    finally:
        neighbour.kill()
        neighbour.wait()
        engine.close()


@pytest.mark.skipif(sys.platform == "win32", reason="the linker's flags")
def test_teams_that_come_and_go(tmp_path: Path) -> None:
    """Thousands, each closed while some of its threads look for work; one in a few hundred used to be waited for for ever."""
    try:
        compiler = compiling.find_compiler()
    except compiling.NoCompiler as error:
        pytest.skip(str(error))
    sources = [str(Path(__file__).with_name("team_stress.cpp")), str(compiling.SOURCES / "team.cpp")]
    flags = ["-std=c++17", "-O1", "-pthread", "-iquote", str(compiling.SOURCES)]
    program = str(tmp_path / "team_stress")
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # scripts/sanitize.py's
    subprocess.run([*compiler.command, *flags, *sources, "-o", program], check=True, timeout=120, env=environment)
    subprocess.run([program, "4000", "16"], check=True, timeout=100, env=environment)


def test_an_engine_is_closed_when_its_call_is_over(library: Any) -> None:
    """As at the end of a process, when a thread that nobody waits for still computes."""
    engine = Engine(library, 1)
    rows = np.arange(4_000_000, dtype=np.float32).reshape(8, -1)  # ever better ones: the slowest there is to look through
    began = threading.Event()
    over_s: list[float] = []

    def compute() -> None:
        began.set()
        engine.top(rows, 4096)
        over_s.append(time.perf_counter())

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    assert began.wait(60)
    time.sleep(0.005)
    engine.close()
    closed_s = time.perf_counter()
    thread.join(60)
    assert over_s[0] < closed_s + 0.1


def test_physical_cores(tmp_path: Path) -> None:
    """Hardware threads of one core count once, and a container's quota counts."""
    for cpu in range(os.cpu_count() or 1):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text("all of them\n")
    quota = tmp_path / "cpu.max"
    assert num_physical_cores(tmp_path, quota) == 1
    assert 1 <= num_physical_cores(tmp_path / "none", quota) <= (os.cpu_count() or 1)
    quota.write_text("150000 100000\n")
    assert num_physical_cores(tmp_path / "none", quota) == 1
    quota.write_text("nonsense\n")
    assert num_physical_cores(tmp_path, quota) == 1
