"""The front on the real host with the fake model: everything but the weights, from a socket to the engine and back."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from websockets.sync.client import connect

from publican.apis.app import create_app
from publican.apis.config import ApiConfig
from publican.apis.serving import uvicorn_config
from publican.host.fake import FakeLibrary
from publican.host.host import ModelHost
from tests.apis.running import in_background, open_door, until


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server like the one that `publican serve --loader fake --in-process` starts."""
    ready = threading.Event()
    ports: list[int] = []
    stop: list[uvicorn.Server] = []

    async def main() -> None:
        host = ModelHost(FakeLibrary())
        await host.load("fake", {})
        server = uvicorn.Server(uvicorn_config(create_app(host, ApiConfig(), open_door), host="127.0.0.1", port=0))
        stop.append(server)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        ports.append(server.servers[0].sockets[0].getsockname()[1])
        ready.set()
        await serving
        await host.unload()

    ended = in_background(lambda: asyncio.run(main()))
    assert ready.wait(30)
    yield f"127.0.0.1:{ports[0]}"
    stop[0].should_exit = True
    ended.result(30)


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_streamed_and_whole_answers_are_the_same(client: openai.OpenAI) -> None:
    body: dict[str, Any] = {"model": "fake", "prompt": "Hello", "max_tokens": 20, "temperature": 0}
    whole = client.completions.create(**body)
    chunks = list(client.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 20
    assert whole.model == "fake"


def test_echo_and_log_probabilities(client: openai.OpenAI) -> None:
    got = client.completions.create(model="fake", prompt="Hello", max_tokens=5, logprobs=3, echo=True, seed=1)
    choice = got.choices[0]
    assert choice.text.startswith("Hello")
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs is not None
    assert choice.logprobs.text_offset is not None
    assert len(choice.logprobs.token_logprobs) == 10
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.text_offset[:6] == [0, 1, 2, 3, 4, 5]


def test_nothing_new_but_the_prompt_s_probabilities(client: openai.OpenAI) -> None:
    choice = client.completions.create(model="fake", prompt="Hello", max_tokens=0, logprobs=1, echo=True).choices[0]
    assert choice.text == "Hello"
    assert choice.finish_reason == "length"


def test_several_prompts_and_choices(client: openai.OpenAI) -> None:
    got = client.completions.create(model="fake", prompt=["a", "b"], n=2, max_tokens=4, temperature=0)
    assert [choice.index for choice in got.choices] == [0, 1, 2, 3]
    assert got.choices[0].text == got.choices[1].text
    assert got.usage is not None
    assert got.usage.completion_tokens == 16


def test_a_prompt_that_is_too_long(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="fake", prompt="x" * 5_000)
    assert caught.value.code == "context_length_exceeded"
    assert "5,000" in caught.value.message
    cut = client.completions.create(model="fake", prompt="x" * 5_000, max_tokens=5, extra_body={"truncate_prompt_tokens": -1})
    assert cut.usage is not None
    assert cut.usage.prompt_tokens == 2_043


def test_tokens_that_are_none(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="prompt"):
        client.completions.create(model="fake", prompt=[10_000_000])
    with pytest.raises(openai.BadRequestError, match="logit_bias"):
        client.completions.create(model="fake", prompt="x", logit_bias={"99999999": 1})


def test_the_websocket(address: str) -> None:
    with connect(f"ws://{address}/api/v1/stream") as socket:
        socket.send(json.dumps({"prompt": "Hello", "max_new_tokens": 30, "seed": 3}))
        events = [json.loads(socket.recv(timeout=5))]
        while events[-1]["event"] != "stream_end":
            events.append(json.loads(socket.recv(timeout=5)))
    assert any(event.get("text") for event in events)


def test_hanging_up_empties_the_engine(client: openai.OpenAI) -> None:
    metrics = str(client.base_url).replace("/v1/", "/metrics")
    stream = client.completions.create(
        model="fake-slow", prompt="x", max_tokens=2_000, stream=True, extra_body={"ignore_eos": True}
    )
    next(stream)
    stream.close()
    until(lambda: "publican_requests_running 0.0" in httpx.get(metrics).text)
