"""Anthropic's bodies: what they mean, what is refused and with which words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.anthropic import translate
from publican.apis.anthropic.schema import MessagesBody
from publican.apis.asking import Asking
from publican.core.errors import InvalidParameter, InvalidRequest, Unsupported
from publican.core.request import Caller, ChatPrompt
from publican.core.sampling.wire import sampling_names
from tests.apis.openai.test_translate import ANYTHING

CALLER = Asking(Caller())
USER = {"role": "user", "content": "Hi"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def messages(**body: Any) -> translate.Asked:
    return translate.messages({"model": "m", "max_tokens": 9, "messages": [USER], **body}, CALLER)


def prompt(**body: Any) -> ChatPrompt:
    asked = messages(**body).request.prompt
    assert isinstance(asked, ChatPrompt)
    return asked


def blocks(*content: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [USER, {"role": role, "content": list(content)}]}


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        ({"max_tokens": None}, "stopping.max_tokens", 4096),
        ({"stop_sequences": ["a"]}, "stopping.strings", ("a",)),
        ({"temperature": 0}, "sampling.is_greedy", True),
        ({"temperature": 0.2}, "sampling.temperature", 0.2),
        ({"top_k": 7}, "sampling.top_k", 7),
        ({"min_p": 0.1}, "sampling.min_p", 0.1),
        ({"tools": [TOOL], "tool_choice": {"type": "none"}}, "prompt.tool_choice", "none"),
        ({"tools": [TOOL], "tool_choice": {"type": "auto"}}, "prompt.tool_choice", "auto"),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, "prompt.tool_choice", "required"),
        ({"thinking": {"type": "disabled"}}, "prompt.variables", {"enable_thinking": False}),
        ({"thinking": {"type": "adaptive"}}, "prompt.variables", {"enable_thinking": True}),
        ({"output_format": {"type": "json_schema", "schema": {}}}, "sampling.json_schema", "{}"),
        (blocks({"type": "text", "text": "x"}, role="assistant"), "prompt.continue_last", True),
        (blocks({"type": "tool_use", "id": "1", "name": "f", "input": {}}, role="assistant"), "prompt.continue_last", False),
    ],
)
def test_what_a_body_means(body: dict[str, Any], path: str, expected: Any) -> None:
    part, field = path.split(".")
    assert getattr(getattr(messages(**body).request, part), field) == expected


def test_results_of_tools_without_words_are_the_whole_turn() -> None:
    sent = blocks({"type": "tool_result", "tool_use_id": "1", "content": "a"}, {"type": "tool_result", "tool_use_id": "2"})
    assert [(m.role, m.content, m.extra) for m in prompt(**sent).messages[1:]] == [
        ("tool", "a", {"tool_call_id": "1"}),
        ("tool", "", {"tool_call_id": "2"}),
    ]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        (blocks("x"), "messages[1].content[0]"),
        (blocks({"type": "text", "text": 5}), "messages[1].content[0].text"),
        (blocks({"type": "tool_result"}), "messages[1].content[0].tool_use_id"),
        (blocks({"type": "tool_use", "id": "1"}, role="assistant"), "messages[1].content[0].name"),
        (blocks({"type": "tool_use", "name": "f", "input": "x"}, role="assistant"), "messages[1].content[0].input"),
        ({"system": 5}, "system"),
        ({"tools": [{"name": ""}]}, "tools[0].name"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"thinking": {"type": "hard"}}, "thinking.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        messages(**body)
    assert caught.value.name == name


@pytest.mark.parametrize(
    "body",
    [
        blocks({"type": "image", "source": {}}),
        blocks({"type": "document", "source": {}}),
        blocks({"type": "tool_use", "id": "1", "name": "f", "input": {}}),
        blocks({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]}),
        {"system": [{"type": "image"}]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"mcp_servers": [{"url": "x"}]},
    ],
)
def test_what_would_be_wrong_in_silence_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        messages(**body)


FIELDS = sorted({*MessagesBody.model_fields, *sampling_names("anthropic"), "mcp_servers"})


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4))
def test_no_body_whatever_gets_anything_but_a_request_or_a_refusal(body: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        messages(**body)
    with suppress(InvalidRequest):
        translate.counted({"messages": [USER], **body})
