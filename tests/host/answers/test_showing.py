"""Tools for a template that knows none."""

from __future__ import annotations

import json

from publican.core.request import ChatPrompt, Message
from publican.host.answers.forcing import offered
from publican.host.answers.formats.table import HERMES
from publican.host.answers.showing import as_wire, calls_of, has_tools, shown
from tests.host.answers.asked import ROLL, WEATHER

CALLED = Message(
    "assistant",
    "",
    {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "roll", "arguments": '{"sides": 6}'}}]},
)
RESULTS = (Message("tool", "4", {"tool_call_id": "1"}), Message("tool", "5", {"tool_call_id": "2"}))


def chat(*messages: Message, **rest) -> ChatPrompt:
    return ChatPrompt(messages, **({"tools": (ROLL, WEATHER)} | rest))


def test_tools_go_to_the_system_message() -> None:
    first, user = shown(chat(Message("user", "Hi")), HERMES)
    assert first.role == "system"
    assert user == Message("user", "Hi")
    for tool in (ROLL, WEATHER):
        assert json.dumps(as_wire(tool)["function"]) in first.content
    assert "<tool_call>\n{" in first.content
    own, _ = shown(chat(Message("system", "Be brief."), Message("user", "Hi")), HERMES)
    assert own.content == f"Be brief.\n\n{first.content}"
    demanding, _ = shown(chat(Message("user", "Hi"), tool_choice="required"), HERMES)
    assert demanding.content.endswith("call a function.")


def test_without_a_system_role_the_user_says_it() -> None:
    (only,) = shown(chat(Message("system", "Be brief."), Message("user", "Hi")), HERMES, system_role=False)
    assert only.role == "user"
    assert only.content.startswith("Be brief.\n\nYou can call")
    assert only.content.endswith("\n\nHi")
    first, second = shown(chat(Message("assistant", "Hi")), HERMES, system_role=False)
    assert (first.role, second) == ("user", Message("assistant", "Hi"))


def test_calls_and_results_become_words() -> None:
    messages = shown(chat(Message("user", "Roll"), CALLED, *RESULTS, tools=()), HERMES)
    assert [m.role for m in messages] == ["user", "assistant", "user"]
    assert messages[1].content == '<tool_call>\n{"name": "roll", "arguments": {"sides": 6}}\n</tool_call>'
    assert messages[2].content == "<tool_response>\n4\n</tool_response>\n<tool_response>\n5\n</tool_response>"
    assert all(not m.extra for m in messages)


def test_who_may_not_call_sees_no_tools() -> None:
    prompt = chat(Message("user", "Hi"), tool_choice="none")
    assert offered(prompt) == ()
    assert not has_tools(prompt)
    assert shown(prompt, HERMES) == prompt.messages
    assert has_tools(chat(CALLED, tools=()))
    assert has_tools(chat(*RESULTS, tools=()))


def test_odd_calls() -> None:
    odd = {"tool_calls": [3, {"function": {"name": "x", "arguments": "not json"}}, {"function": 4}, {}]}
    (call,) = calls_of(Message("assistant", "", odd))
    assert call == ("x", {})
    assert calls_of(Message("assistant", "", {"tool_calls": "x"})) == []
