"""What Ollama's clients read."""

from __future__ import annotations

import json

import pytest

from publican.apis.feed import Item
from publican.apis.fold import Fold
from publican.apis.ollama.answers import Answer, Chatted, Generated
from publican.core.events import ChoiceFinished, Delta, Event, Finished, FinishReason, TokenOutput, ToolCallDelta, Usage
from publican.core.ids import TokenId

END: list[Event] = [ChoiceFinished(0, FinishReason.STOP), Finished(Usage(1, 2))]


def streamed(answer: Answer, events: list[Event]) -> list[dict[str, object]]:
    return [json.loads(line) for event in events for line in answer.render([Item(0, event)]).splitlines()]


@pytest.mark.parametrize("num_top", [None, 0, 2])
def test_no_text_is_lost_for_want_of_a_token(num_top: int | None) -> None:
    """Text may come before the token that it is a part of, or, beside a thought, after it."""
    token = TokenOutput(TokenId(1), b" hi\n", -0.5)
    events: list[Event] = [Delta(0, "", (), "Hm"), Delta(0, " hi"), Delta(0, "\n", (token,)), *END]
    lines = streamed(Generated("m", 0.0, num_top), events)
    assert "".join(str(line["response"]) for line in lines) == " hi\n"
    assert "".join(str(line.get("thinking", "")) for line in lines) == "Hm"
    assert sum("logprobs" in line for line in lines) == (num_top is not None)


def test_arguments_that_json_cannot_say_are_text() -> None:
    call: list[Event] = [ToolCallDelta(0, 0, '{"x": NaN}', "id", "f"), *END]
    fold = Fold()
    fold.add([Item(0, event) for event in call])
    (line, _) = streamed(Chatted("m", 0.0), call)
    for message in (Chatted("m", 0.0).whole(fold)["message"], line["message"]):
        assert message["tool_calls"][0]["function"]["arguments"] == {"arguments": '{"x": NaN}'}  # type: ignore[index]
