"""Anthropic's Python client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.cli.running import Running

ASK: dict[str, Any] = {
    "model": "any",
    "max_tokens": 16,
    "system": "You are brief.",
    "extra_body": {"temperature": 0},  # the client has no word for it any more; servers have
    "messages": [{"role": "user", "content": "Say hello."}],
}
WEATHER: Any = {
    "name": "weather",
    "description": "Tells the weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(server: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0) as client:
        yield client


def test_a_message_and_its_stream(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        folded = stream.get_final_message()
    assert text == folded.content[0].text == whole.content[0].text  # type: ignore[union-attr]
    assert (folded.stop_reason, folded.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    num_read = [one.usage.input_tokens + (one.usage.cache_read_input_tokens or 0) for one in (whole, folded)]
    counted = client.messages.count_tokens(model="any", messages=ASK["messages"], system=ASK["system"])
    assert num_read == [counted.input_tokens] * 2


def test_a_stop_sequence(client: anthropic.Anthropic) -> None:
    begun = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "1, 2, 3, 4,"}]
    answer = client.messages.create(**{**ASK, "messages": begun, "stop_sequences": ["7"], "max_tokens": 40})
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "7")
    assert "6" in answer.content[0].text  # type: ignore[union-attr]


def test_a_tool_that_must_be_called_and_what_it_gives(client: anthropic.Anthropic) -> None:
    asked: Any = {**ASK, "tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weather"}, "max_tokens": 80}
    answer = client.messages.create(**asked)
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert call.input["city"] in ("Paris", "Rome")
    assert answer.stop_reason == "tool_use"
    with client.messages.stream(**asked) as stream:
        assert stream.get_final_message().content[-1].input == call.input  # type: ignore[union-attr]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns = [*ASK["messages"], {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(**{**asked, "messages": turns, "tool_choice": {"type": "none"}}).content


def test_errors(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="2,048"):
        client.messages.create(**{**ASK, "messages": [{"role": "user", "content": "word " * 3_000}]})
