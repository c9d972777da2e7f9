"""A worker that dies, a host that goes away, a model that cannot be loaded."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from publican.core.backend import no_progress
from publican.core.errors import EngineError, PublicanError, UnsupportedModel, WorkerDied
from publican.core.events import Delta, Failed, Finished
from publican.engine.job import SendTrace
from publican.host import frames, worker_process
from publican.host.fake import fake_model, fake_spec
from publican.host.in_process import ThreadPort
from publican.host.port import PortCallbacks
from publican.host.worker_process import WorkerPort
from tests.host.asking import ask, fold, request

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_a_killed_worker_fails_what_it_ran_and_is_started_again():
    async def main():
        ports: list[WorkerPort] = []

        def make_port() -> WorkerPort:
            ports.append(WorkerPort())
            return ports[-1]

        model = fake_model(spec=fake_spec(step_s=0.02), make_port=make_port)
        await model.start()
        streams = [await model.generate(request(f"{i}", max_tokens=1_000)) for i in range(3)]
        async for event in streams[0]:
            if isinstance(event, Delta):
                break
        os.kill(ports[0].pid, signal.SIGKILL)
        for stream in streams:
            last = (await fold(stream)).last
            assert isinstance(last, Failed)
            assert isinstance(last.error, WorkerDied)
        assert not model.status.healthy
        after = await ask(model, "still there?")  # waits for the new worker
        assert isinstance(after.last, Finished)
        assert model.status.healthy
        assert len(ports) == 2
        await model.close()

    run(main())


def test_a_fault_while_loading_is_an_error_not_a_hang_and_stands_in_the_host_s_log(caplog: pytest.LogCaptureFixture):
    async def main():
        model = fake_model(spec=replace(fake_spec(), num_slots="many"), make_port=WorkerPort)
        with pytest.raises(PublicanError, match="see the log"):
            await model.start()
        await model.close()

    run(main())
    (line,) = [record for record in caplog.records if record.name == "publican.worker"]
    assert "Traceback" in line.getMessage()
    assert line.worker


def test_a_loader_that_refuses_says_why():
    async def main():
        model = fake_model(spec=replace(fake_spec(), loader="none"), make_port=WorkerPort)
        with pytest.raises(UnsupportedModel, match="no loader"):
            await model.start()

    run(main())


def test_the_worker_ends_when_its_host_is_gone():
    process = subprocess.Popen([sys.executable, "-m", "publican.host.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(frames.encode(fake_spec()))
    process.stdin.flush()
    assert isinstance(frames.read(process.stdout), frames.Ready)
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_the_worker_does_not_mind_ctrl_c():
    process = subprocess.Popen([sys.executable, "-m", "publican.host.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(frames.encode(fake_spec()))
    process.stdin.flush()
    assert isinstance(frames.read(process.stdout), frames.Ready)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_a_reader_that_breaks_leaves_nobody_waiting():
    """Whatever goes wrong with what a worker says: it ends, and that is told, or its requests would wait for ever."""

    async def main():
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def broken(report):
            raise ValueError("a bug of ours")

        port = WorkerPort()
        await port.start(fake_spec(), PortCallbacks(broken, ended.set_result, no_progress))
        port.send(SendTrace())
        assert "signal 9" in await asyncio.wait_for(ended, 10)
        await port.close()

    run(main())


def test_the_worker_loads_neither_torch_nor_the_web():
    code = "import sys, publican.host.worker; print(sorted({'torch', 'fastapi', 'jinja2', 'tokenizers'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_an_engine_that_ends_of_itself_is_noticed():
    async def main():
        model = fake_model(make_port=WorkerPort)
        await model.start()
        model.spec = replace(model.spec, loader="none")  # so that starting again fails, again and again
        port = model._port
        assert isinstance(port, WorkerPort)
        os.kill(port.pid, signal.SIGKILL)
        await asyncio.sleep(1.5)
        assert not model.status.healthy
        await model.close()

    run(main())


@pytest.mark.parametrize("when", ["idle", "busy"])
def test_a_worker_that_answers_no_more_is_killed_and_started_again(when: str):
    async def main():
        ports: list[WorkerPort] = []

        def make_port() -> WorkerPort:
            ports.append(WorkerPort(ping_every_s=5.0 if ports else 0.3))
            return ports[-1]

        model = fake_model(spec=fake_spec(step_s=0.02), make_port=make_port)
        await model.start()
        if when == "idle":
            os.kill(ports[0].pid, signal.SIGSTOP)
        stream = await model.generate(request("hello", max_tokens=1_000))
        if when == "busy":
            await anext(stream)
            os.kill(ports[0].pid, signal.SIGSTOP)
        last = (await fold(stream)).last
        assert isinstance(last, Failed)
        assert isinstance(last.error, WorkerDied)
        assert isinstance((await ask(model, "still there?")).last, Finished)
        await model.close()

    run(main())


def test_a_worker_that_answers_lives_however_often_it_is_asked():
    async def main():
        port = WorkerPort(ping_every_s=0.25)
        model = fake_model(make_port=lambda: port)
        await model.start()
        await asyncio.sleep(2.5)  # ten questions
        assert isinstance((await ask(model, "hello")).last, Finished)
        assert model._port is port
        await model.close()

    run(main())


def test_a_step_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker_process, "_LONGEST_STEP_S", 0.5)

    async def main():
        model = fake_model(spec=fake_spec(step_s=60.0), make_port=lambda: WorkerPort(ping_every_s=0.1))
        await model.start()
        last = (await ask(model, "hello")).last
        assert isinstance(last, Failed)
        assert isinstance(last.error, WorkerDied)
        await model.close()

    run(main())


def test_a_worker_that_is_loading_ends_with_its_host():
    """In mid-load it neither reads nor writes for long."""
    code = (
        "import time; from publican.host import executor_for, worker; "
        "executor_for.build = lambda spec, progress: time.sleep(60); worker.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(frames.encode(fake_spec()))
    process.stdin.close()
    assert process.wait(20) == 1
    process.stdout.close()


def test_a_load_that_is_cancelled_leaves_no_process():
    async def main():
        port = WorkerPort()
        starting = asyncio.create_task(port.start(fake_spec(), PortCallbacks(print, print, no_progress)))
        while port._process is None:
            await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        with pytest.raises(ProcessLookupError):
            os.kill(port.pid, 0)

    run(main())


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("json", "signal", "numpy", "pickle"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger was imported')")
    monkeypatch.chdir(tmp_path)

    async def main():
        model = fake_model(make_port=WorkerPort)
        await model.start()
        assert isinstance((await ask(model, "hello")).last, Finished)
        await model.close()

    run(main())


def test_no_room_for_a_process_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch):
    async def refuse(*args, **rest):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(EngineError, match="temporarily unavailable"):
        run(fake_model(make_port=WorkerPort).start())


@pytest.mark.parametrize("make_port", [ThreadPort, WorkerPort])
def test_a_model_that_is_closed_refuses_and_fails_what_ran(make_port):
    async def main():
        model = fake_model(spec=fake_spec(step_s=0.05), make_port=make_port)
        await model.start()
        stream = await model.generate(request("hello", max_tokens=1_000))
        await anext(stream)
        await model.close()
        assert isinstance((await fold(stream)).last, Failed)
        with pytest.raises(EngineError, match="unloaded"):
            await model.generate(request("too late"))

    run(main())
