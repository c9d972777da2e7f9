"""A worker that dies, a host that goes away, a model that cannot be loaded."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from publican.core.errors import PublicanError, UnsupportedModel, WorkerDied
from publican.core.events import Delta, Failed, Finished
from publican.host import frames
from publican.host.fake import fake_model, fake_spec
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


def test_a_worker_that_dies_while_loading_is_an_error_not_a_hang(monkeypatch: pytest.MonkeyPatch):
    async def main():
        model = fake_model(spec=replace(fake_spec(), num_slots=-5), make_port=WorkerPort)
        with pytest.raises(PublicanError):
            await model.start()
        await model.close()

    run(main())


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
