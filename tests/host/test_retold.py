"""Conversations told otherwise: nothing that was said is lost, and templates that refuse the one take the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.core.errors import InvalidRequest
from publican.core.request import ChatPrompt, Message
from publican.host.retold import alternating, one_call_a_turn, system_in_user, tellings
from publican.host.templates import ChatTemplates

S, U, A = Message("system", "S"), Message("user", "U"), Message("assistant", "A")


def call(id: str) -> dict[str, object]:
    return {"id": id, "type": "function", "function": {"name": f"f{id}", "arguments": "{}"}}


def result(id: str | None, content: str) -> Message:
    return Message("tool", content, {} if id is None else {"tool_call_id": id})


def shape(messages: tuple[Message, ...]) -> str:
    return " ".join(f"{m.role[0]}:{m.content}" for m in messages)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((S, U, A), "u:S\n\nU a:A"),
        ((S, S, U), "u:S\n\nS\n\nU"),
        ((S, A), "u:S a:A"),
        ((S,), "u:S"),
        ((U, S), "u:U s:S"),
        ((), ""),
    ],
)
def test_the_system_s_words_in_the_user_s_mouth(messages: tuple[Message, ...], expected: str) -> None:
    assert shape(system_in_user(messages)) == expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((A, U), "u: a:A u:U"),
        ((S, A), "s:S u: a:A"),
        ((U, U, A, A), "u:U\n\nU a:A\n\nA"),
        ((U, result("1", "r"), result("2", "r")), "u:U t:r t:r"),
        ((U, A, U), "u:U a:A u:U"),
    ],
)
def test_turns_that_alternate(messages: tuple[Message, ...], expected: str) -> None:
    assert shape(alternating(messages)) == expected


def test_calls_one_after_the_other_each_with_its_result() -> None:
    calls = Message("assistant", "Hm", {"tool_calls": [call("1"), call("2"), call("3")]})
    told = one_call_a_turn((U, calls, result("2", "two"), result("1", "one"), result(None, "rest"), result("9", "odd"), A))
    assert shape(told) == "u:U a:Hm t:one a: t:two a: t:rest t:odd a:A"
    assert [m.extra["tool_calls"] for m in told if m.extra.get("tool_calls")] == [[call("1")], [call("2")], [call("3")]]


def test_what_needs_no_change_is_told_once() -> None:
    assert list(tellings([U, A, U])) == [(U, A, U)]


ids = st.sampled_from(["1", "2", "3"])
messages = st.one_of(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.sampled_from("abc")),
    st.builds(lambda i: Message("assistant", "x", {"tool_calls": [call(id) for id in i]}), st.lists(ids)),
    st.builds(result, st.one_of(st.none(), ids), st.sampled_from("abc")),
    st.just(Message("assistant", "x", {"tool_calls": ["junk", 7]})),
)


@given(st.lists(messages, max_size=6))
def test_nothing_is_lost(sent: list[Message]) -> None:
    def said(told: tuple[Message, ...]) -> list[str]:
        calls = [str(one) for m in told for one in m.extra.get("tool_calls") or ()]
        return sorted(word for m in told for word in m.content.split()) + sorted(calls)

    ways = list(tellings(sent))
    assert ways[0] == tuple(sent)
    assert 1 <= len(ways) <= 10
    assert all(said(way) == said(tuple(sent)) for way in ways)


STRICT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Must alternate') }}{% endif %}"
    "{% if m.tool_calls and m.tool_calls | length > 1 %}{{ raise_exception('One call') }}{% endif %}"
    "<{{ m.role[0] }}>{{ m.content }}{% endfor %}"
)


def test_a_picky_template_takes_what_clients_send() -> None:
    templates = ChatTemplates({"default": STRICT}, "", "", "chatml")

    def rendered(*messages: Message, continue_last: bool = False) -> str:
        return templates.render(ChatPrompt(messages, continue_last))

    assert rendered(U, A, U) == "<u>U<a>A<u>U"
    assert rendered(S, U) == "<u>S\n\nU"
    assert rendered(S, A, U) == "<u>S<a>A<u>U"
    assert rendered(A, A, U, U) == "<u><a>A\n\nA<u>U\n\nU"
    assert rendered(S, U, A, Message("assistant", "B"), continue_last=True) == "<u>S\n\nU<a>A\n\nB"
    assert rendered(S, A, U, Message("system", "Be brief.")) == "<u>S<a>A<u>U\n\nBe brief."
    assert rendered(U, A, Message("system", "Now"), U) == "<u>U<a>A<u>Now\n\nU"
    with pytest.raises(InvalidRequest, match="Must alternate"):
        rendered(U, Message("tool", "x"), Message("tool", "y"))


def test_a_template_that_takes_one_system_message_keeps_it() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('One system') }}{% endif %}"
        "<{{ m.role[0] }}>{{ m.content }}{% endfor %}"
    )
    templates = ChatTemplates({"default": source}, "", "", "chatml")
    assert templates.render(ChatPrompt((S, U, Message("system", "Be brief.")))) == "<s>S<u>U\n\nBe brief."


def test_a_template_that_wants_the_user_first_keeps_its_system_message() -> None:
    source = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 1) %}"
        "{{ raise_exception('Alternate') }}{% endif %}<{{ m.role[0] }}>{{ m.content }}{% endfor %}"
    )
    templates = ChatTemplates({"default": source}, "", "", "chatml")
    assert templates.render(ChatPrompt((S, A, U))) == "<s>S<u><a>A<u>U"


def test_its_first_complaint_is_the_one_that_is_told() -> None:
    with pytest.raises(InvalidRequest, match="No system role"):
        ChatTemplates({"default": STRICT}, "", "", "chatml").render(
            ChatPrompt((S, U, Message("tool", "x"), Message("tool", "y")))
        )


def test_one_that_takes_long_to_refuse_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("publican.host.templates._MAX_RETELLING_S", -1.0)
    with pytest.raises(InvalidRequest, match="No system role"):
        ChatTemplates({"default": STRICT}, "", "", "chatml").render(ChatPrompt((S, U)))


def test_a_template_that_counts_on_tools_is_given_none() -> None:
    source = "{% for t in tools %}{{ t.function.name }}{% endfor %}{{ messages[0].content }}"
    assert ChatTemplates({"default": source}, "", "", "chatml").render(ChatPrompt((U,))) == "U"


def test_the_names_that_firefunction_counts_on() -> None:
    source = "{{ 'F=' + functions + ' T=' + datetime }}{{ messages[0].content }}"
    templates = ChatTemplates({"default": source}, "", "", "chatml")
    assert templates.render(ChatPrompt((U,))).startswith("F= T=")
    assert templates.render(ChatPrompt((U,), variables={"datetime": "now"})) == "F= T=nowU"
