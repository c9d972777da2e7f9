"""How a model thinks and calls, from what its files say."""

from __future__ import annotations

import pytest

from publican.core.errors import SettingsError
from publican.core.request import ChatPrompt, Message, Request, Wanted
from publican.core.sampling import SamplingParams
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


def look(prompt: ChatPrompt, style: Style, text: str = "", sampling: SamplingParams = SamplingParams(), **wanted):  # noqa: B008
    return reading_of(Request(prompt, sampling, wanted=Wanted(**wanted)), prompt, style, text)


def test_what_is_looked_for() -> None:
    style = Style((Tags("[THINK]", "[/THINK]"),), special={END: 1, "[THINK]": 2, "[/THINK]": 3})
    assert look(chat(), style) is None
    assert look(chat(tools=(ROLL,), tool_choice="none"), style) is None
    thinking = look(chat(), style, "assistant: [THINK]", split_reasoning=True)
    assert thinking.opened == style.tags[0]
    assert thinking.format is None
    assert thinking.hidden is style.hidden
    assert set(thinking.hidden.strings) - thinking.marks == {END}
    calling = look(chat(tools=(ROLL,), tool_choice=ROLL), Style(special={END: 1}))
    assert (calling.split, calling.forced, calling.most_calls, calling.hidden) == (False, True, 1, None)
    assert look(chat(), style, split_reasoning=True, special_tokens=True).hidden is None


def test_a_constraint_without_room_for_thoughts_is_the_answer() -> None:
    for sampling, opened in [
        (SamplingParams(), THINK),
        (SamplingParams(json_schema="{}"), THINK),
        (SamplingParams(choice=("a",)), THINK),
        (SamplingParams(regex="a"), None),
        (SamplingParams(grammar="start: /a/"), None),
    ]:
        assert look(chat(), Style((THINK,)), "<think>\n", sampling, split_reasoning=True).opened == opened


def test_a_thought_that_is_over() -> None:
    for text, closed in [("<think>\n\n</think>\n\n", True), ("<think>\n", False), ("assistant\n", False)]:
        assert look(chat(), Style((THINK,)), text, split_reasoning=True).closed == closed
