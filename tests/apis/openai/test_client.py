"""The real `openai` package against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from publican.core.errors import EngineError, Overloaded, PromptTooLong, Unsupported
from publican.core.events import (
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    Queued,
    Started,
    TokenOutput,
    ToolCallDelta,
    Usage,
)
from publican.core.ids import TokenId
from publican.core.request import Request
from tests.apis.fake_host import FOREVER, Pause, ScriptedHost, answer, failing
from tests.apis.running import app_of, keyed, open_door, served, until

HI: Any = [{"role": "user", "content": "Hi"}]


@contextmanager
def client_of(
    host: ScriptedHost, key: str = "any", authenticate: Any = open_door, retries: int = 0, **config: Any
) -> Iterator[openai.OpenAI]:
    with (
        served(app_of(host, authenticate, **config)) as address,
        openai.OpenAI(base_url=f"http://{address}/v1", api_key=key, max_retries=retries) as client,
    ):
        yield client


def test_models() -> None:
    with client_of(ScriptedHost()) as client:
        (model,) = client.models.list().data
        assert (model.id, model.object, model.owned_by, model.created) == ("tiny", "model", "publican", 1_700_000_000)
        assert client.models.retrieve("tiny").id == "tiny"
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("huge")
        assert caught.value.code == "model_not_found"


def test_completions() -> None:
    host = ScriptedHost()
    with client_of(host) as client:
        got = client.completions.create(
            model="tiny", prompt=["a", "b"], n=2, max_tokens=3, logprobs=2, echo=True, seed=7, stop=["\n"], temperature=0
        )
        assert [choice.index for choice in got.choices] == [0, 1, 2, 3]
        assert {choice.text for choice in got.choices} == {"p0p1p2p3p4Hello world!"}
        assert got.choices[0].finish_reason == "length"
        logprobs = got.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.tokens is not None
        assert "".join(logprobs.tokens) == got.choices[0].text
        assert logprobs.text_offset == [0, 2, 4, 6, 8, 10, 15, 21]
        assert got.usage is not None
        assert got.usage.total_tokens == 22
        assert got.usage.prompt_tokens_details is not None
        assert got.usage.prompt_tokens_details.cached_tokens == 6
    request = host.requests[0]
    assert request.sampling.is_greedy
    assert (request.sampling.seed, request.stopping.strings, request.stopping.max_tokens) == (7, ("\n",), 3)


def test_streamed_completions() -> None:
    with client_of(ScriptedHost(lambda request: [Queued(1), *answer(request, ["Hé", "\u2028", "😀"], pause_s=0.01)])) as client:
        chunks = list(client.completions.create(model="tiny", prompt="x", stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "Hé\u2028😀"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_chat() -> None:
    host = ScriptedHost()
    with client_of(host) as client:
        got = client.chat.completions.create(model="tiny", messages=HI, max_completion_tokens=9, logprobs=True, top_logprobs=2)
        assert got.choices[0].message.content == "Hello world!"
        assert got.choices[0].message.role == "assistant"
        logprobs = got.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        assert [entry.token for entry in logprobs.content] == ["Hello", " world", "!"]
        assert len(logprobs.content[0].top_logprobs) == 2
    assert host.requests[0].stopping.max_tokens == 9


def test_streamed_chat_of_two_choices() -> None:
    with client_of(ScriptedHost()) as client:
        chunks = list(client.chat.completions.create(model="tiny", messages=HI, n=2, stream=True))
    for index in (0, 1):
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert deltas[0].role == "assistant"
        assert "".join(delta.content or "" for delta in deltas) == "Hello world!"
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_package_s_own_accumulator() -> None:
    host = ScriptedHost(lambda request: answer(request, ["Hello", " world!"], FinishReason.STOP))
    with client_of(host) as client, client.chat.completions.stream(model="tiny", messages=HI) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Hello world!"
    assert final.choices[0].finish_reason == "stop"


def test_errors_are_the_package_s_own() -> None:
    with client_of(ScriptedHost(refusal=PromptTooLong(9_000, 2_048))) as client:
        with pytest.raises(openai.BadRequestError) as too_long:
            client.chat.completions.create(model="tiny", messages=HI)
        assert too_long.value.code == "context_length_exceeded"
        assert "9,000" in too_long.value.message
        with pytest.raises(openai.BadRequestError) as wrong:
            client.completions.create(model="tiny", prompt="x", temperature=-1)
        assert wrong.value.param == "temperature"
    with client_of(ScriptedHost(refusal=Overloaded("Full.", 3))) as client, pytest.raises(openai.RateLimitError):
        client.completions.create(model="tiny", prompt="x", stream=True)
    with client_of(ScriptedHost(), "wrong", keyed) as client, pytest.raises(openai.AuthenticationError) as refused:
        client.models.list()
    assert refused.value.code == "invalid_api_key"
    with client_of(ScriptedHost(), "friend", keyed) as client:
        assert client.models.list().data


def test_a_broken_stream_raises_what_the_server_said() -> None:
    script = failing(EngineError("The engine stopped."), Started(5), Delta(0, "so far"), Pause(0.05))
    with client_of(ScriptedHost(script)) as client:
        stream = client.completions.create(model="tiny", prompt="x", stream=True)
        assert next(stream).choices[0].text == "so far"
        with pytest.raises(openai.APIError, match="The engine stopped"):
            list(stream)


def test_closing_a_stream_cancels() -> None:
    host = ScriptedHost(lambda request: [Started(5), Delta(0, "a"), Pause(FOREVER)])
    with client_of(host) as client:
        stream = client.completions.create(model="tiny", prompt="x", stream=True)
        assert next(stream).choices[0].text == "a"
        stream.close()
        until(lambda: host.cancelled)


def test_cancelling_a_whole_answer_cancels() -> None:
    host = ScriptedHost(lambda request: [Started(5), Pause(FOREVER)])

    async def give_up(base_url: str) -> None:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="any") as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.completions.create(model="tiny", prompt="x"), 0.3)

    with served(app_of(host)) as address:
        asyncio.run(give_up(f"http://{address}/v1"))
        until(lambda: host.cancelled)


def test_a_retry_waits_as_long_as_it_was_told() -> None:
    host = ScriptedHost(refusal=Overloaded("Full.", 1))
    with client_of(host, retries=1) as client:
        threading.Timer(0.5, lambda: setattr(host, "refusal", None)).start()
        assert client.completions.create(model="tiny", prompt="x").choices[0].text == "Hello world!"


# --- tools, thoughts, responses

TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def calling(request: Request) -> list[Any]:
    """A thought, a word, and two calls in pieces."""
    return [
        Started(5),
        Delta(0, "", (TokenOutput(TokenId(1)),), reasoning="Hm."),
        Delta(0, "So: ", (TokenOutput(TokenId(2)),)),
        ToolCallDelta(0, 0, "", "call_1", "f"),
        ToolCallDelta(0, 0, '{"a":'),
        ToolCallDelta(0, 0, " 1}"),
        ToolCallDelta(0, 1, "{}", "call_2", "f"),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
        Finished(Usage(5, 9)),
    ]


def test_calls_of_tools_whole_and_streamed_are_the_same() -> None:
    with client_of(ScriptedHost(calling)) as client:
        whole = client.chat.completions.create(model="tiny", messages=HI, tools=TOOLS, tool_choice="required")
        with client.chat.completions.stream(model="tiny", messages=HI, tools=TOOLS) as stream:
            streamed = stream.get_final_completion()
    for got in (whole.choices[0], streamed.choices[0]):
        assert (got.finish_reason, got.message.content) == ("tool_calls", "So: ")
        assert got.message.tool_calls is not None
        calls = [(call.id, call.function.name, call.function.arguments) for call in got.message.tool_calls]  # type: ignore[union-attr]
        assert calls == [("call_1", "f", '{"a": 1}'), ("call_2", "f", "{}")]
    assert whole.choices[0].message.model_extra == {"reasoning_content": "Hm."}
    assert whole.usage is not None
    assert whole.usage.completion_tokens_details is not None
    assert whole.usage.completion_tokens_details.reasoning_tokens == 1


def test_an_answer_of_a_form_is_parsed() -> None:
    class Weather(BaseModel):
        celsius: int

    host = ScriptedHost(lambda request: answer(request, ['{"celsius"', ": 7}"], FinishReason.STOP))
    with client_of(host) as client:
        got = client.chat.completions.parse(model="tiny", messages=HI, response_format=Weather)
        assert got.choices[0].message.parsed == Weather(celsius=7)
        parsed = client.responses.parse(model="tiny", input="x", text_format=Weather)
        assert parsed.output_parsed == Weather(celsius=7)
    for request in host.requests:
        assert '"celsius"' in request.sampling.json_schema


def test_responses_whole_and_streamed_are_the_same() -> None:
    with client_of(ScriptedHost(calling)) as client:
        flat: Any = [{"type": "function", **TOOLS[0]["function"]}]
        whole = client.responses.create(model="tiny", input="x", tools=flat)
        with client.responses.stream(model="tiny", input="x") as stream:
            seen = [event.type for event in stream]
            streamed = stream.get_final_response()
    assert whole.output_text == streamed.output_text == "So: "
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call", "function_call"]
    assert [item.type for item in streamed.output] == [item.type for item in whole.output]
    assert whole.usage is not None
    assert whole.usage.output_tokens_details.reasoning_tokens == 1
    assert seen[0] == "response.created"
    assert seen[-1] == "response.completed"


def test_embeddings() -> None:
    with client_of(ScriptedHost()) as client:
        got = client.embeddings.create(model="tiny", input=["a", "b"], dimensions=2)
        assert [round(number, 6) for number in got.data[1].embedding] == [0.6, 0.8]
        assert got.usage.total_tokens == 6
    refusing = ScriptedHost(refusal=Unsupported("tiny gives no embeddings."))
    with client_of(refusing) as client, pytest.raises(openai.BadRequestError, match="no embeddings"):
        client.embeddings.create(model="tiny", input="a")
