"""OpenAI's Python client: models, completions, chats, forms of answers, the stateless responses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.cli.running import Running

FRANCE: Any = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    first = client.models.list().data[0]
    assert "SmolLM2" in first.id
    assert client.models.retrieve(first.id).id == first.id
    with pytest.raises(openai.NotFoundError, match="not here"):
        client.models.retrieve("gpt-9")


def test_a_completion_and_its_stream(client: openai.OpenAI) -> None:
    asked: Any = {"model": "m", "prompt": "The sky is", "temperature": 0, "max_tokens": 12, "logprobs": 2}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    tops = [top for chunk in chunks for top in (chunk.choices[0].logprobs.top_logprobs if chunk.choices[0].logprobs else [])]
    assert [sorted(top) for top in tops] == [sorted(top) for top in logprobs.top_logprobs or []]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == len(logprobs.tokens or [])


def test_a_chat_with_logprobs_and_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="m", messages=FRANCE, n=2, seed=3, max_tokens=8, logprobs=True, top_logprobs=3
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content or [])


def test_an_answer_that_follows_a_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="m",
        messages=FRANCE,
        max_tokens=40,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content or "")["city"] in ("Paris", "Rome")


def test_a_tool_that_must_be_called(client: openai.OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    asked: Any = {
        "model": "m",
        "messages": FRANCE,
        "tools": tools,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0,
        "max_tokens": 80,
    }
    call = (client.chat.completions.create(**asked).choices[0].message.tool_calls or [None])[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed is not None
    assert streamed[0].function.arguments == call.function.arguments


def test_responses(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="m", input="Say hello.", max_output_tokens=60, temperature=0)
    with client.responses.stream(model="m", input="Say hello.", max_output_tokens=60, temperature=0) as stream:
        kinds = [event.type for event in stream]
        folded = stream.get_final_response()
    assert folded.output_text == whole.output_text
    assert kinds[0] == "response.created"


def test_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="top_p"):
        client.completions.create(model="m", prompt="x", top_p=7)
    with pytest.raises(openai.BadRequestError, match="2,048"):
        client.completions.create(model="m", prompt="word " * 3_000)


def test_vectors(client: openai.OpenAI) -> None:
    """The client itself asks for base64 and decodes it; token arrays are texts too."""
    texts = ["A cat sat.", "A dog lay."]
    made = client.embeddings.create(model="m", input=texts)
    assert [one.index for one in made.data] == [0, 1]
    assert made.usage.prompt_tokens == made.usage.total_tokens > 0
    for one in made.data:
        assert math.isclose(math.hypot(*one.embedding), 1.0, rel_tol=1e-5)
    floats = client.embeddings.create(model="m", input=texts[0], encoding_format="float").data[0].embedding
    assert math.dist(floats, made.data[0].embedding) < 0.05
    few = client.embeddings.create(model="m", input=[[1, 2, 3], [4, 5]], dimensions=8)
    assert [len(one.embedding) for one in few.data] == [8, 8]
    assert few.usage.prompt_tokens == 5
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="m", input="text", dimensions=4_000)
    with pytest.raises(openai.BadRequestError, match="context"):
        client.embeddings.create(model="m", input="word " * 5_000)
