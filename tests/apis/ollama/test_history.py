"""Conversations that have grown too long: what is left of them."""

from __future__ import annotations

import asyncio

import pytest

from publican.apis.ollama.history import fitted, without
from publican.core.request import ChatPrompt, Message, Request, Stopping
from tests.apis.fake_host import ScriptedHost

CHAT = ChatPrompt((Message("system", "s" * 10), *(Message("user", f"{i}" * 10) for i in range(9))))


def texts(room: int | None, context_len: int = 2_000, prompt: ChatPrompt = CHAT, max_tokens: int = 5) -> list[str]:
    """One token per character of a message."""
    request = Request(prompt, stopping=Stopping(max_tokens=max_tokens))
    left = asyncio.run(fitted(ScriptedHost(), request, room, context_len)).prompt
    assert isinstance(left, ChatPrompt)
    return [message.content[0] for message in left.messages]


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (None, "s012345678"),
        (100, "s012345678"),
        (99, "s12345678"),
        (50, "s5678"),
        (35, "s78"),
        (20, "s8"),
        (1, "s8"),
    ],
)
def test_the_oldest_turns_go_and_the_system_s_words_stay(room: int | None, expected: str) -> None:
    assert "".join(texts(room)) == expected


def test_the_model_s_context_counts_too_with_room_for_the_answer() -> None:
    assert "".join(texts(10_000, context_len=55)) == "s5678"
    assert "".join(texts(10_000, context_len=55, max_tokens=25)) == "s78"
    assert "".join(texts(10_000, context_len=0)) == "s012345678"


def test_a_tool_s_answer_does_not_stand_without_its_call() -> None:
    call, result, user = Message("assistant", "call"), Message("tool", "result"), Message("user", "thanks")
    prompt = ChatPrompt((Message("user", "ask"), call, result, user))
    assert [m.role for m in without(prompt, 1).messages] == ["assistant", "tool", "user"]
    assert [m.role for m in without(prompt, 2).messages] == ["user"]


def test_the_last_message_stays_even_if_it_is_a_tool_s_answer() -> None:
    call, result = Message("assistant", "c" * 90), Message("tool", "r" * 90)
    assert texts(50, prompt=ChatPrompt((Message("user", "u" * 90), call, result))) == ["r"]
