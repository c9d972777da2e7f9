"""Prompts out of histories, in three modes; forgetting the oldest; histories after an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.asking import Asking
from publican.apis.ooba import translate
from publican.apis.ooba.chat import Conversation, fit
from publican.apis.ooba.instruct import INSTRUCTS, Instruct, overridden
from publican.core.errors import InvalidParameter, Unsupported
from publican.core.request import Caller, ChatPrompt, Prompt, TextPrompt

HISTORY = {"internal": [["a", "b"], ["c", "d"]], "visible": [["a", "b"], ["c", "d"]]}


def conversation(**fields: Any) -> Conversation:
    neutral: dict[str, Any] = {
        "mode": "chat",
        "user": "Ann",
        "bot": "Bot",
        "context": "Context.",
        "command": "Be <|character|>.\n<|prompt|>",
        "instruct": None,
        "turns": (("a", "b"), ("c", "d")),
        "said": "e",
    }
    return Conversation(**{**neutral, **fields})


def text(prompt: Prompt) -> str:
    assert isinstance(prompt, TextPrompt)
    return prompt.text


def messages(prompt: Prompt) -> list[tuple[str, str]]:
    assert isinstance(prompt, ChatPrompt)
    return [(message.role, message.content) for message in prompt.messages]


def test_chat_is_a_script() -> None:
    assert text(conversation().prompt()) == "Context.\nAnn: a\nBot: b\nAnn: c\nBot: d\nAnn: e\nBot:"
    assert text(conversation(begun="so ").prompt()).endswith("Ann: e\nBot: so ")
    assert text(conversation(context="{{char}} <USER>").prompt()).startswith("Bot Ann\n")
    assert conversation().stop_strings == ("\nAnn:", "\nBot:")


def test_instruct_in_the_model_s_own_format() -> None:
    prompt = conversation(mode="instruct").prompt()
    assert messages(prompt) == [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    continued = conversation(mode="instruct", begun="f").prompt()
    assert messages(continued)[-1] == ("assistant", "f")
    assert isinstance(continued, ChatPrompt)
    assert continued.continue_last


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Vicuna-v1.1", "USER: a\nASSISTANT: b</s>\nUSER: e\nASSISTANT:"),
        ("Alpaca", "### Instruction:\na\n\n### Response:\nb\n\n### Instruction:\ne\n\n### Response:\n"),
        (
            "ChatML",
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\ne<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_instruct_in_a_named_format(name: str, expected: str) -> None:
    prompt = conversation(mode="instruct", instruct=INSTRUCTS[name], turns=(("a", "b"),)).prompt()
    assert text(prompt).endswith(expected)


def test_chat_instruct_is_a_script_in_an_instruction() -> None:
    script = "Context.\nAnn: a\nBot: b\nAnn: c\nBot: d\nAnn: e\n"
    own = conversation(mode="chat-instruct").prompt()
    assert messages(own) == [("user", "Be Bot.\n" + script), ("assistant", "Bot:")]
    named = conversation(mode="chat-instruct", instruct=Instruct("Q:", "A:", "C.\n")).prompt()
    assert text(named) == f"C.\nQ:\nBe Bot.\n{script}\nA:\nBot:"


def test_what_nobody_said_is_not_in_the_script() -> None:
    prompt = conversation(turns=(("<|BEGIN-VISIBLE-CHAT|>", "Hello."), ("", "Again."))).prompt()
    assert text(prompt) == "Context.\nBot: Hello.\nBot: Again.\nAnn: e\nBot:"


def test_stop_strings_of_a_format() -> None:
    assert INSTRUCTS["ChatML"].stop_strings == ("<|im_end|>\n<|im_start|>assistant", "<|im_end|>\n<|im_start|>user")
    assert Instruct("", "", "", "<|user-message|><|bot|><|bot-message|>").stop_strings == ()


@given(st.text(max_size=40), st.text(max_size=5), st.text(max_size=5))
def test_no_turn_template_breaks_anything(turn: str, user: str, bot: str) -> None:
    form = Instruct(user, bot, "", turn)
    conversation(mode="instruct", instruct=form).prompt()
    assert all(string.strip() for string in form.stop_strings)


def test_a_format_of_the_request_s_own_wins_over_the_named_one() -> None:
    assert overridden(None, None, None, None, None) is None
    assert overridden(INSTRUCTS["Alpaca"], None, "X:", None, None) == Instruct(
        "### Instruction:", "X:", INSTRUCTS["Alpaca"].context, INSTRUCTS["Alpaca"].turn
    )


# --- forgetting


def fitted(talk: Conversation, max_len: int) -> tuple[str, int]:
    counted = 0

    async def count(prompt: Prompt) -> int:
        nonlocal counted
        counted += 1
        return len(text(prompt))

    return text(asyncio.run(fit(talk, count, max_len))), counted


@given(st.integers(0, 40), st.integers(0, 400))
def test_as_little_is_forgotten_as_it_takes(num_turns: int, max_len: int) -> None:
    talk = conversation(turns=tuple((f"u{i}", f"b{i}") for i in range(num_turns)))
    prompt, counted = fitted(talk, max_len)
    assert prompt.startswith("Context.\n")
    assert prompt.endswith("Ann: e\nBot:")
    lengths = [len(text(talk.prompt(i))) for i in range(talk.num_rows + 1)]
    fitting = [length for length in lengths if length <= max_len]
    assert len(prompt) == (max(fitting) if fitting else lengths[-1])
    assert counted <= 9


def test_a_chat_that_fits_is_counted_once() -> None:
    assert fitted(conversation(), 1_000)[1] == 1


def test_after_forgetting_the_user_begins() -> None:
    assert messages(conversation(mode="instruct").prompt(1))[0] == ("user", "c")


# --- bodies


def chat(**body: Any) -> translate.Chat:
    return translate.chat({"user_input": "e", "history": HISTORY, **body}, Asking(Caller()))


def test_regenerate_and_continue() -> None:
    again = chat(regenerate=True, mode="instruct")
    assert messages(again.request.prompt) == [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert again.histories.after(" x")["internal"] == [["a", "b"], ["c", "x"]]
    on = chat(_continue=True, mode="instruct")
    assert messages(on.request.prompt)[-1] == ("assistant", "d")
    assert on.histories.after(" x")["internal"] == [["a", "b"], ["c", "d x"]]


def test_nothing_to_do_over() -> None:
    empty = {"internal": [], "visible": [["x", "y"]]}
    assert chat(regenerate=True, history=empty).unchanged == empty
    assert chat(history={}).unchanged is None


def test_a_visible_history_that_does_not_match_is_made_anew() -> None:
    asked = chat(history={"internal": [["<a>", "b"]]})
    assert asked.histories.after("c")["visible"] == [["&lt;a&gt;", "b"], ["e", "c"]]


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("mode", "notebook", InvalidParameter),
        ("history", [], InvalidParameter),
        ("history", {"internal": [["a"]]}, InvalidParameter),
        ("history", {"internal": [["a", 5]]}, InvalidParameter),
        ("history", {"internal": [["a", "b", "c"]]}, InvalidParameter),
        ("user_input", 5, InvalidParameter),
        ("instruction_template", "Pygmalion", Unsupported),
        ("turn_template", "<|user|> <|user-message|>", InvalidParameter),
    ],
)
def test_wrong_chats(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        chat(**{field: value})


def test_names_come_from_the_character_or_are_given() -> None:
    assert "\nExample:" in chat(character="Example").request.stopping.strings
    assert "\nAI:" in chat(character="None").request.stopping.strings
    assert set(chat(name1="Ann", name2="Bob").request.stopping.strings) == {"\nAnn:", "\nBob:"}
    assert "\nYou:" in chat().request.stopping.strings
