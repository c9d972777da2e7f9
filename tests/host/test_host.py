"""Loading, swapping and unloading while somebody asks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from publican.core.errors import EngineError, ModelNotFound, OutOfMemory, Overloaded, WorkerDied
from publican.core.events import Failed, Finished
from publican.host.fake import FakeLibrary
from publican.host.host import ModelHost
from publican.host.in_process import ThreadPort
from tests.host.asking import ask, fold, request


class SlowPort(ThreadPort):
    """Takes for ever to start, until it is let go."""

    async def start(self, spec, callbacks):
        await asyncio.Event().wait()


class Library(FakeLibrary):
    """Begins with what works; what is opened after `slow` is set never comes up."""

    slow = False

    async def open(self, name, options):
        self._make_port = SlowPort if self.slow else ThreadPort
        return await super().open(name, options)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def test_unloading_does_not_wait_for_what_is_being_loaded():
    async def main():
        library = Library()
        library.slow = True
        host = ModelHost(library)
        loading = asyncio.create_task(host.load("fake", {}))
        await asyncio.sleep(0.05)
        await host.unload()
        with pytest.raises(EngineError, match="before it was loaded"):
            await loading
        assert host.model is None
        library.slow = False
        await host.load("fake", {})
        assert isinstance((await ask(host, "hello")).last, Finished)
        await host.unload()

    run(main())


def test_what_runs_while_the_model_goes_is_told_to_come_back():
    """As when a worker dies: whoever asks again finds the next model, so it is no fault that ends the matter (HTTP 503)."""

    async def main():
        host = ModelHost(Library())
        await host.load("fake", {})
        streams = [await host.generate(request(f"hello {at}", max_tokens=2_000)) for at in range(3)]
        await host.unload()
        for stream in streams:
            last = (await fold(stream)).last
            assert isinstance(last, Failed)
            assert isinstance(last.error, WorkerDied)
            assert "was unloaded" in str(last.error)

    run(main())


def test_the_model_before_comes_back_as_it_was_loaded():
    """With the context that somebody asked for, not with the library's own."""

    class Failing(ThreadPort):
        async def start(self, spec, callbacks):
            raise OutOfMemory("no room")

    class Remembering(FakeLibrary):
        async def open(self, name, options):
            self._make_port = Failing if name == "fake-slow" else ThreadPort
            model = await super().open(name, options)
            model.spec = replace(model.spec, context_len=options.get("ctx_size", 2_048))
            return model

    async def main():
        host = ModelHost(Remembering())
        await host.load("fake", {"ctx_size": 512})
        with pytest.raises(OutOfMemory):
            await host.load("fake-slow", {})
        (card, _) = await host.models()
        assert (card.name, card.context_len) == ("fake", 512)
        assert (card.details["cache_len"], card.details["draft"], card.embeds) == (8 * 2_048, "", True)
        await host.unload()

    run(main())


def test_whoever_asks_during_a_swap_is_told_to_come_back():
    async def main():
        library = Library()
        host = ModelHost(library)
        with pytest.raises(ModelNotFound, match="No model is loaded"):
            await ask(host, "hello")
        await host.load("fake", {})
        library.slow = True
        loading = asyncio.create_task(host.load("fake-slow", {}))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded) as refused:
            await ask(host, "hello")
        assert refused.value.retry_after_s
        assert not host.status().healthy
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert host.status().healthy

    run(main())
