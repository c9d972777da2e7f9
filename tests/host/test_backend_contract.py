"""The same tests over every Backend."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from publican.core.errors import InvalidParameter, InvalidRequest, Overloaded, PromptTooLong
from publican.core.events import ChoiceFinished, Delta, Failed, Finished, FinishReason, Started, ToolCallDelta
from publican.core.ids import TokenId
from publican.core.request import Caller, ChatPrompt, Message, Request, Stopping, TokenPrompt, Tool, Wanted
from publican.core.sampling import SamplingParams
from publican.host.fake import FakeLibrary, fake_model, fake_spec
from publican.host.host import ModelHost
from publican.host.in_process import ThreadPort
from publican.host.worker_process import WorkerPort
from tests.host.asking import GREEDY, ask, fold, request


@asynccontextmanager
async def model_in_process():
    model = fake_model(max_waiting=4)
    await model.start()
    yield model
    await model.close()


@asynccontextmanager
async def model_in_worker():
    model = fake_model(make_port=WorkerPort, max_waiting=4)
    await model.start()
    yield model
    await model.close()


@asynccontextmanager
async def whole_host():
    host = ModelHost(FakeLibrary(ThreadPort))
    await host.load("fake", {})
    yield host
    await host.unload()


BACKENDS = {"model in process": model_in_process, "model in worker": model_in_worker, "host": whole_host}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest):
    return BACKENDS[request.param]


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def test_a_stream_begins_and_ends_once(backend):
    async def main():
        async with backend() as it:
            folded = await ask(it, "Hello", max_tokens=8)
            kinds = [type(e) for e in folded.events]
            assert kinds[0] is Started
            assert kinds[-2:] == [ChoiceFinished, Finished]
            assert kinds.count(Started) == kinds.count(Finished) == 1
            assert folded.last.usage.num_completion_tokens == 8
            assert len(folded.text()) == 8

    run(main())


def test_many_at_once_are_as_one_alone(backend):
    async def main():
        async with backend() as it:
            prompts = [f"prompt {i} " * (i + 1) for i in range(10)]
            together = await asyncio.gather(*(ask(it, p) for p in prompts))
            alone = [await ask(it, p) for p in prompts]
            assert [f.text() for f in together] == [f.text() for f in alone]

    run(main())


def test_a_seed_is_a_seed_and_none_is_a_new_one(backend):
    async def main():
        async with backend() as it:
            sampling = SamplingParams(temperature=2.0, seed=5)
            a, b = [(await ask(it, "x", sampling=sampling, max_tokens=40)).text() for _ in range(2)]
            assert a == b
            c, d = [(await ask(it, "x", sampling=SamplingParams(temperature=2.0), max_tokens=40)).text() for _ in range(2)]
            assert c != d

    run(main())


def test_token_and_chat_prompts(backend):
    async def main():
        async with backend() as it:
            tokens = TokenPrompt(tuple(TokenId(b) for b in b"Hello"))
            as_tokens = await fold(await it.generate(Request(tokens, GREEDY, Stopping(max_tokens=8))))
            assert as_tokens.text() == (await ask(it, "Hello", max_tokens=8)).text()
            chat = ChatPrompt((Message("user", "Hi"),))
            as_chat = await fold(await it.generate(Request(chat, GREEDY, Stopping(max_tokens=8))))
            prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
            assert as_chat.text() == (await ask(it, prompt, max_tokens=8)).text()
            assert as_chat.started.num_prompt_tokens == len("user\nHi\nassistant\n") + 3

    run(main())


def test_echo_gives_the_prompt_back(backend):
    async def main():
        async with backend() as it:
            assert (await ask(it, "Say it", wanted=Wanted(echo=True))).started.prompt_text == "Say it"
            assert (await ask(it, "Say it")).started.prompt_text == ""

    run(main())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (request("x" * 5_000), PromptTooLong),
        (Request(TokenPrompt((TokenId(1_000_000),))), InvalidParameter),
        (Request(TokenPrompt((TokenId(-1),))), InvalidParameter),
        (request("x", sampling=SamplingParams(logit_bias=((TokenId(99_999), 1.0),))), InvalidParameter),
        (request("x", stopping=Stopping(token_ids=(TokenId(99_999),))), InvalidParameter),
        (request("x", max_tokens=3_000, wanted=Wanted(truncate_prompt=100)), InvalidRequest),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(backend, wrong, error):
    async def main():
        async with backend() as it:
            with pytest.raises(error):
                await it.generate(wrong)
            assert len((await ask(it, "and goes on")).text()) == 16

    run(main())


def test_a_prompt_can_be_cut_from_the_left(backend):
    async def main():
        async with backend() as it:
            cut = await ask(it, "abc" * 2_000 + "the end", wanted=Wanted(truncate_prompt=7))
            assert cut.text() == (await ask(it, "the end")).text()
            filled = await ask(it, "abc" * 2_000, max_tokens=48, wanted=Wanted(truncate_prompt=99_999))
            assert filled.started.num_prompt_tokens == 2_000

    run(main())


def test_an_empty_prompt_begins_somewhere(backend):
    async def main():
        async with backend() as it:
            assert (await ask(it, "")).started.num_prompt_tokens == 1

    run(main())


def test_half_a_utf16_pair_is_no_crash(backend):
    async def main():
        async with backend() as it:
            assert (await ask(it, "a\ud83d")).text() == (await ask(it, "a\ufffd")).text()

    run(main())


def test_closing_a_stream_cancels_even_if_nothing_was_read(backend):
    async def main():
        async with backend() as it:
            for _ in range(40):
                stream = await it.generate(request("never read", max_tokens=1_500))
                await stream.aclose()
            stream = await it.generate(request("read a little", max_tokens=1_500))
            async for event in stream:
                if isinstance(event, Delta):
                    break
            await stream.aclose()
            assert [e async for e in stream] == []
            assert len((await ask(it, "others go on")).text()) == 16

    run(main())


def test_stop_keeps_what_there_is_and_only_touches_ones_own(backend):
    async def main():
        async with backend() as it:
            mine = await it.generate(request("mine", max_tokens=1_900, caller=Caller("me")))
            theirs = await it.generate(request("theirs", max_tokens=40, caller=Caller("them")))
            await anext(mine)
            assert it.stop(Caller("me")) == 1
            folded = await fold(mine)
            assert isinstance(folded.last, Finished)
            assert folded.ended().reason == FinishReason.ABORTED
            assert len((await fold(theirs)).text()) == 40
            assert it.stop(Caller("boss", admin=True)) == 0

    run(main())


@pytest.mark.parametrize("make_port", [ThreadPort, WorkerPort])
def test_a_full_queue_refuses_and_says_when(make_port):
    async def main():
        model = fake_model(spec=fake_spec(step_s=0.02), make_port=make_port, max_waiting=4)
        await model.start()
        streams = [await model.generate(request(f"{i}", max_tokens=200)) for i in range(32 + 4)]
        with pytest.raises(Overloaded) as refused:
            await model.generate(request("one too many"))
        assert refused.value.retry_after_s >= 1
        assert f"try again in {refused.value.retry_after_s} s" in str(refused.value)
        for stream in streams:
            await stream.aclose()
        assert len((await ask(model, "room again")).text()) == 16
        await model.close()

    run(main())


@pytest.mark.parametrize("make_port", [ThreadPort, WorkerPort])
def test_closing_the_model_fails_what_runs(make_port):
    async def main():
        model = fake_model(spec=fake_spec(step_s=0.02), make_port=make_port)
        await model.start()
        stream = await model.generate(request("long", max_tokens=1_000))
        await anext(stream)
        await model.close()
        folded = await fold(stream)
        assert isinstance(folded.last, Failed)

    run(main())


ROLL = Tool(
    "roll", "Rolls.", {"type": "object", "properties": {"sides": {"type": "integer", "maximum": 20}}, "required": ["sides"]}
)


def test_a_demanded_call_is_made(backend):
    """Even by a model that speaks nonsense: the grammar crosses every seam, and so do the calls."""

    async def main():
        async with backend() as it:
            prompt = ChatPrompt((Message("user", "Hi"),), tools=(ROLL,), tool_choice="required", parallel_calls=False)
            wanted = Wanted(num_choices=2, split_reasoning=True)
            folded = await fold(await it.generate(Request(prompt, GREEDY, Stopping(max_tokens=120), wanted)))
            for index in range(2):
                calls = [e for e in folded.events if isinstance(e, ToolCallDelta) and e.index == index]
                assert calls[0].name == "roll"
                assert calls[0].id
                assert json.loads("".join(call.arguments for call in calls))["sides"] <= 20
                assert folded.ended(index).reason is FinishReason.TOOL_CALLS
                assert folded.text(index) == ""
            hidden = await fold(await it.generate(Request(replace(prompt, tool_choice="none"), GREEDY, Stopping(max_tokens=8))))
            assert len(hidden.text()) == 8

    run(main())


def test_a_schema_that_cannot_be_demanded_is_refused(backend):
    async def main():
        async with backend() as it:
            tool = Tool("f", "", {"type": "object", "properties": {"x": {"type": "string", "pattern": "("}}, "required": ["x"]})
            prompt = ChatPrompt((Message("user", "Hi"),), tools=(tool,), tool_choice="required")
            folded = await fold(await it.generate(Request(prompt, GREEDY, Stopping(max_tokens=8))))
            assert isinstance(folded.last, Failed)
            assert isinstance(folded.last.error, InvalidParameter)
            assert folded.last.error.name == "tools"

    run(main())


def test_closing_a_chats_stream_cancels_it(backend):
    async def main():
        async with backend() as it:
            prompt = ChatPrompt((Message("user", "Hi"),))
            request = Request(prompt, GREEDY, Stopping(max_tokens=1_500), Wanted(split_reasoning=True))
            stream = await it.generate(request)
            async for event in stream:
                if isinstance(event, Delta):
                    break
            await stream.aclose()
            assert [event async for event in stream] == []
            assert len((await ask(it, "Hello", max_tokens=4)).text()) == 4

    run(main())


def test_whoever_has_come_is_counted_at_once(backend):
    """Also while the engine is in a step and does not know of them."""

    async def main():
        async with backend() as it:
            streams = [await it.generate(request(f"{i}", max_tokens=500)) for i in range(3)]
            status = it.status() if callable(it.status) else it.status
            assert status.num_running + status.num_waiting == 3
            for stream in streams:
                await stream.aclose()
            status = it.status() if callable(it.status) else it.status
            assert status.num_waiting == 0

    run(main())
