"""Anthropic's own Python client against our front, with a host that plays what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from publican.core.errors import EngineError, InvalidRequest, Overloaded
from publican.core.events import ChoiceFinished, Delta, Failed, Finished, FinishReason, Started, ToolCallDelta, Usage
from tests.apis.fake_host import Pause, ScriptedHost
from tests.apis.running import app_of, keyed, served, until

ASK: dict[str, Any] = {"model": "any", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]}
TOOLS: Any = [{"name": "weather", "input_schema": {"type": "object"}}]


@pytest.fixture
def host() -> ScriptedHost:
    return ScriptedHost()


@pytest.fixture
def client(host: ScriptedHost) -> Iterator[anthropic.Anthropic]:
    app = app_of(host, keyed, key_required=True, ping_s=0.05, commit_s=0.05)
    with (
        served(app) as address,
        anthropic.Anthropic(base_url=f"http://{address}", api_key="friend", max_retries=0) as client,
    ):
        yield client


def thinking_and_calling(request: Any) -> list[Any]:
    return [
        Started(5),
        Delta(0, "", (), "Hm."),
        Pause(0.2),
        Delta(0, "Let me see."),
        ToolCallDelta(0, 0, "", "call_1", "weather"),
        ToolCallDelta(0, 0, '{"city": '),
        ToolCallDelta(0, 0, '"Rome"}'),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
        Finished(Usage(5, 9, 2)),
    ]


def test_a_stream_folds_to_the_whole_answer(host: ScriptedHost, client: anthropic.Anthropic) -> None:
    host.script = thinking_and_calling
    whole = client.messages.create(**ASK, tools=TOOLS)
    with client.messages.stream(**ASK, tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        folded = stream.get_final_message()
    assert [block.type for block in folded.content] == ["thinking", "text", "tool_use"]
    assert folded.content[2].input == {"city": "Rome"}  # type: ignore[union-attr]
    same = {"content", "stop_reason", "stop_sequence", "model", "role", "type"}
    assert folded.model_dump(include=same, exclude={"content": {"__all__": {"parsed_output"}}}) == whole.model_dump(
        include=same, exclude={"content": {"__all__": {"parsed_output"}}}
    )
    assert (folded.usage.input_tokens, folded.usage.cache_read_input_tokens, folded.usage.output_tokens) == (3, 2, 9)
    assert whole.usage.input_tokens == 3
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


def test_errors_are_those_that_the_client_knows(host: ScriptedHost, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="key"):
        client.with_options(api_key="wrong").messages.create(**ASK)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(**{**ASK, "max_tokens": 0})
    host.refusal = InvalidRequest("The prompt is too odd.")
    with pytest.raises(anthropic.BadRequestError, match="too odd"):
        client.messages.create(**ASK)
    host.refusal = Overloaded("Full; try again in 9 s.", 9)
    with pytest.raises(anthropic.APIStatusError, match="Full") as full:
        client.messages.create(**ASK)
    assert (full.value.status_code, full.value.response.headers["retry-after"]) == (529, "9")


def test_an_error_in_mid_stream(host: ScriptedHost, client: anthropic.Anthropic) -> None:
    host.script = lambda request: [Started(1), Pause(0.1), Delta(0, "a"), Failed(EngineError("It broke."))]
    stream = client.messages.create(**ASK, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="It broke"):
        list(stream)


def test_a_key_in_either_header_and_a_count(client: anthropic.Anthropic) -> None:
    count = client.messages.count_tokens(model="any", messages=ASK["messages"], system="Be.")
    assert count.input_tokens == 5
    bearer = anthropic.Anthropic(base_url=str(client.base_url), auth_token="owner", api_key=None, max_retries=0)
    with bearer:
        assert bearer.messages.create(**ASK).content[0].text == "Hello world!"  # type: ignore[union-attr]


def test_hanging_up_cancels(host: ScriptedHost, client: anthropic.Anthropic) -> None:
    host.script = lambda request: [Started(1), Delta(0, "a"), Pause(60.0)]
    with client.messages.create(**ASK, stream=True) as stream:
        next(iter(stream))
    until(lambda: host.cancelled)
