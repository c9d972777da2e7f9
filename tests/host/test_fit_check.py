"""The plan against what a worker really holds, on the default model: when it is loaded, and when its cache has been filled."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from publican.core.errors import OutOfMemory
from publican.core.events import Finished
from publican.core.executor import ExecutorInfo, Pages
from publican.core.request import Request, Stopping, TokenPrompt
from publican.core.sampling import SamplingParams
from publican.hardware.machine import described_machine
from publican.hardware.sizes import MIB
from publican.host.fit_check import check
from publican.host.frames import Ready
from publican.host.library import ModelLibrary
from publican.host.measured import Measured, compare
from publican.host.options import LoadOptions
from publican.host.worker_process import WorkerPort
from publican.store.catalogue import find_model
from tests.host.asking import fold

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
INFO = ExecutorInfo("native", "cpu", 1, 16, 1, 1, 1, Pages(16, 1))


def library(tmp_path: Path, **options) -> ModelLibrary:
    return ModelLibrary(tmp_path, LoadOptions(**options), WorkerPort, 10)


@linux
@pytest.mark.parametrize("options", [{}, {"quality": True}, {"loader": "llama"}, {"backend": "plain"}], ids=str)
def test_what_is_held_after_loading_is_within_a_tenth_of_the_plan(default_model: Path, tmp_path: Path, options):
    if options.get("loader") == "llama":
        pytest.importorskip("llama_cpp")
    stored = find_model(str(default_model), tmp_path, allow_path=True)
    wanted = LoadOptions(context_len=1_024, threads=2, **options)
    (memory,) = asyncio.run(check(library(tmp_path), stored, wanted)).measured
    assert memory.where == "memory"
    assert abs(memory.error) < 0.10, str(memory)


@linux
def test_what_is_held_when_the_cache_is_full_is_within_a_tenth_of_the_plan(default_model: Path, tmp_path: Path):
    async def main() -> tuple[int, int]:
        ports: list[WorkerPort] = []

        def make_port() -> WorkerPort:
            ports.append(WorkerPort())
            return ports[-1]

        models = ModelLibrary(tmp_path, LoadOptions(context_len=1_024, num_users=2, max_running=8), make_port, 100)
        models.add(stored := find_model(str(default_model), tmp_path, allow_path=True))
        model = await models.open(stored.name, {})
        await model.start()
        try:
            for start in (100, 2_000, 4_000):  # three conversations that have nothing in common, in room for two
                tokens = tuple(range(start, start + 1_000))
                stream = await model.generate(Request(TokenPrompt(tokens), SamplingParams(), Stopping(max_tokens=20)))
                assert isinstance((await fold(stream)).last, Finished)
            held = psutil.Process(ports[0].pid).memory_info().rss
        finally:
            await model.close()
        assert models.last_opened is not None
        return models.last_opened.fit.plan.total_bytes, held

    planned, held = asyncio.run(asyncio.wait_for(main(), 120))
    assert held == pytest.approx(planned, rel=0.10), f"{held / MIB:.0f} MiB held, {planned / MIB:.0f} planned"


@linux
def test_loading_takes_no_more_than_was_planned_for_it(default_model: Path, tmp_path: Path):
    """Mapped pages of the file do not count: the system takes them back as it likes."""

    async def main() -> tuple[int, int]:
        port = WorkerPort()
        models = ModelLibrary(tmp_path, LoadOptions(context_len=64, num_users=1, max_running=1), lambda: port, 10)
        models.add(stored := find_model(str(default_model), tmp_path, allow_path=True))
        model = await models.open(stored.name, {})
        await model.start()
        try:
            peak = peak_bytes(port.pid) - default_model.stat().st_size
        finally:
            await model.close()
        assert models.last_opened is not None
        (share,) = models.last_opened.fit.plan.shares
        return share.total_bytes + share.passing_bytes, peak

    planned, peak = asyncio.run(asyncio.wait_for(main(), 120))
    assert peak <= 1.10 * planned, f"{peak / MIB:.0f} MiB at most, {planned / MIB:.0f} planned"


def peak_bytes(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) << 10


def test_a_plan_for_no_memory_is_refused_before_anything_is_read(default_model: Path, tmp_path: Path):
    started: list[object] = []

    def make_port() -> WorkerPort:
        started.append(None)
        return WorkerPort()

    small = described_machine((), 400 * MIB, 2)
    models = ModelLibrary(tmp_path, LoadOptions(), make_port, 10, lambda: small)
    stored = find_model(str(default_model), tmp_path, allow_path=True)
    with pytest.raises(OutOfMemory, match=r"MiB of weights.*too much .*where \d+ MiB are free on memory"):
        models.open_model(stored, LoadOptions(context_len=8_192))
    assert not started


@linux
def test_the_model_that_will_go_is_not_in_the_way_of_the_one_that_comes(default_model: Path, tmp_path: Path):
    """What the present one holds is free when the next is loaded: a machine with room for one can change it."""

    async def main() -> None:
        free = [1024 * MIB]
        models = ModelLibrary(
            tmp_path,
            LoadOptions(context_len=1_024, num_users=1, max_running=2),
            WorkerPort,
            10,
            lambda: replace(described_machine((), 1024 * MIB, 2), available_bytes=free[0]),
        )
        models.add(stored := find_model(str(default_model), tmp_path, allow_path=True))
        first = await models.open(stored.name, {})
        assert models.last_opened is not None
        await first.start()
        plan = models.last_opened.fit.plan
        needed = plan.total_bytes + plan.shares[0].passing_bytes + plan.shares[0].device.reserve_bytes
        free[0] = needed + 10 * MIB - plan.host_loaded_bytes
        second = await models.open(stored.name, {})
        await first.close()
        assert second.spec.context_len == 1_024
        with pytest.raises(OutOfMemory):  # now nobody will make room
            await models.open(stored.name, {})

    asyncio.run(asyncio.wait_for(main(), 120))


def test_only_what_is_known_is_compared():
    ready = Ready(INFO, 1.0, 110, 50)
    assert compare((100, 0), ready) == (Measured("memory", 100, 110),)
    assert compare((100, 50), ready) == (Measured("memory", 100, 110), Measured("GPUs", 50, 50))
    assert compare((0, 0), ready) == ()
    assert compare((100, 50), Ready(INFO, 1.0, 0)) == ()
    assert Measured("memory", 100, 110).error == pytest.approx(0.10)
    assert "+10.0%" in str(Measured("memory", 100 * MIB, 110 * MIB))
