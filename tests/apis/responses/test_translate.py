"""Bodies of ``/v1/responses``: what becomes of items, what is refused, and with which words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.responses import translate
from publican.apis.responses.schema import ResponsesBody
from publican.core.errors import InvalidParameter, InvalidRequest, Unsupported
from publican.core.request import Caller, ChatPrompt, Message
from publican.core.sampling.wire import sampling_names

ASKING = Asking(Caller())
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def prompt(**body: Any) -> ChatPrompt:
    made = translate.response({"input": "x", **body}, ASKING).request.prompt
    assert isinstance(made, ChatPrompt)
    return made


def test_instructions_stand_before_everything_and_join_a_system_message() -> None:
    assert prompt(instructions="Be kind.").messages == (Message("system", "Be kind."), Message("user", "x"))
    told = prompt(instructions="A", input=[{"role": "developer", "content": "B"}, {"role": "user", "content": "x"}])
    assert told.messages == (Message("system", "A\n\nB"), Message("user", "x"))


def test_what_the_model_said_and_called_in_one_go_is_one_turn() -> None:
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
    items = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]},
        call,
        {**call, "call_id": "2"},
        {"type": "function_call_output", "call_id": "1", "output": "42"},
    ]
    user, assistant, tool = prompt(input=items).messages
    assert (user.role, assistant.role, tool.role) == ("user", "assistant", "tool")
    assert assistant.content == "Wait."
    assert [made["id"] for made in assistant.extra["tool_calls"]] == ["1", "2"]
    assert tool.extra == {"tool_call_id": "1"}


def test_how_much_is_thought() -> None:
    assert prompt().variables == {}
    assert prompt(reasoning={"effort": "high"}).variables == {"reasoning_effort": "high"}
    assert prompt(reasoning={"effort": "none"}).variables == {"enable_thinking": False}


def test_only_allowed_tools_are_offered() -> None:
    tools = [TOOL, {**TOOL, "name": "g"}]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    made = prompt(tools=tools, tool_choice=choice)
    assert [tool.name for tool in made.tools] == ["g"]
    assert made.tool_choice == "required"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x"]}, r"input\[0\]"),
        ({"input": [{"content": "x"}]}, r"input\[0\]\.role"),
        ({"input": [{"type": "function_call", "name": "f"}]}, r"input\[0\]\.(call_id|arguments)"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, r"input\[0\]\.call_id"),
        ({"tools": [{"type": "function"}]}, r"tools\[0\]"),
        ({"tools": [{"type": "function", "name": ""}]}, r"tools\[0\]\.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema"}}}, "schema"),
        ({"truncation": "middle"}, "truncation"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_wrong_values_are_named(body: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        prompt(**body)


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"background": True},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]},
        {"tools": [{"type": "web_search"}]},
    ],
)
def test_what_is_not_to_be_had_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        prompt(**body)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["message", "reasoning", "function_call", "function_call_output", "x"])},
        optional=dict.fromkeys(("role", "content", "summary", "call_id", "name", "arguments", "output"), ANYTHING),
    ),
    max_size=3,
)
FIELDS = sorted({*ResponsesBody.model_fields, *sampling_names("openai")} - {"input"})


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4), ITEMS | ANYTHING)
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(body: dict[str, Any], items: Any) -> None:
    with suppress(InvalidRequest):
        translate.response({**body, "input": items}, ASKING)
