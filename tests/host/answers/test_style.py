"""How a model thinks and calls, from what its files say."""

from __future__ import annotations

import pytest

from publican.core.errors import SettingsError
from publican.core.request import ChatPrompt, Message, Wanted
from publican.host.answers.formats.table import FORMATS
from publican.host.answers.reading import reading_of
from publican.host.answers.style import Style, special_texts, style_of
from publican.host.answers.thoughts import THINK, Tags
from tests.host.answers.asked import ROLL
from tests.host.answers.byte_vocabulary import END, vocabulary

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"


@pytest.mark.parametrize(
    ("source", "special", "name", "format"),
    [
        (TOOLS + "{{ '<tool_call>' }}", (), "", "hermes"),
        (TOOLS + "<tool_call>\n<function=f>\n<parameter=x>", (), "", "qwen3-coder"),
        (TOOLS + '{"name": function name, "parameters": dictionary}', (), "", "llama3"),
        (TOOLS + "[TOOL_CALLS]", (), "", "mistral-list"),
        (TOOLS + "[TOOL_CALLS]name[ARGS]", (), "", "mistral"),
        (TOOLS + "[func_name1(params_name1=params_value1)]", (), "", "pythonic"),
        (TOOLS + "<｜tool▁calls▁begin｜>", (), "", "deepseek-v3.1"),
        (TOOLS, ("<|python_tag|>",), "", "llama3"),
        (TOOLS, ("[TOOL_CALLS]",), "", "mistral-list"),
        (TOOLS, (), "Mistral-7B-Instruct", "mistral"),
        (TOOLS, (), "Meta-Llama-3.1-8B", "llama3"),
        (TOOLS, (), "anything", "hermes"),
        (PLAIN, ("[TOOL_CALLS]",), "Mistral-7B", "hermes"),
    ],
)
def test_formats(source: str, special: tuple[str, ...], name: str, format: str) -> None:
    style = style_of(source, dict.fromkeys(special, 1), name)
    assert style.format.name == format
    assert style.offers_tools == (source != PLAIN)


def test_every_format_gives_itself_away() -> None:
    for format in FORMATS:
        for sign in format.signs:
            assert style_of(TOOLS + sign, {}).format.name == format.name, sign


def test_a_person_may_choose() -> None:
    style = style_of(TOOLS + "<tool_call></think>", {}, calls="mistral", thoughts="[THINK]")
    assert style.format.name == "mistral"
    assert style.tags == (Tags("[THINK]", "[/THINK]"),)
    assert style_of("</think>", {}, thoughts="none").tags == ()
    assert style_of("</think>", {}).tags == (THINK,)
    with pytest.raises(SettingsError, match="choose one of: apertus, command-r"):
        style_of(TOOLS, {}, calls="smoke signals")
    with pytest.raises(SettingsError, match="no tag '<hm>'"):
        style_of(TOOLS, {}, thoughts="<hm>")


def test_special_texts() -> None:
    words = vocabulary(["[THINK]"])
    assert special_texts(words) == {END: 256, "[THINK]": 257}


def chat(**rest) -> ChatPrompt:
    return ChatPrompt((Message("user", "Hi"),), **rest)


def test_what_is_looked_for() -> None:
    style = Style((Tags("[THINK]", "[/THINK]"),), special={END: 1, "[THINK]": 2, "[/THINK]": 3})
    assert reading_of(chat(), Wanted(), style, "") is None
    assert reading_of(chat(tools=(ROLL,), tool_choice="none"), Wanted(), style, "") is None
    thinking = reading_of(chat(), Wanted(split_reasoning=True), style, "assistant: [THINK]")
    assert thinking is not None
    assert thinking.opened == style.tags[0]
    assert thinking.format is None
    assert thinking.hidden == (END,)
    calling = reading_of(chat(tools=(ROLL,), tool_choice=ROLL), Wanted(), Style(special={END: 1}), "")
    assert calling is not None
    assert (calling.split, calling.forced, calling.most_calls, calling.hidden) == (False, True, 1, ())
    seen = reading_of(chat(), Wanted(split_reasoning=True, special_tokens=True), style, "")
    assert seen is not None
    assert seen.hidden == ()
