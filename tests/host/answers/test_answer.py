"""Thoughts, text and calls in one answer."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.host.answers.formats import channels
from publican.host.answers.formats.table import CHANNELS, FORMATS, HERMES, LLAMA, MISTRAL, PYTHONIC
from publican.host.answers.reading import Reading
from publican.host.answers.thoughts import KNOWN, THINK, Tags, find_tags, opened_in, with_common
from tests.host.answers.asked import CALLS, calling, cut_at, read, read_at_every_cut

THINKING = Reading(tags=with_common(()))
by_tags = pytest.mark.parametrize("tags", KNOWN, ids=lambda tags: tags.start)


@by_tags
@pytest.mark.parametrize("space", ["", "\n", " \n\n"])
def test_a_thought_and_an_answer(tags: Tags, space: str) -> None:
    text = f"{space}{tags.start}{space}Well, {{1 < 2}}.\n So{space}{tags.end}{space}It is 2.\n"
    found = read_at_every_cut(Reading(tags=(tags,)), text)
    assert found.plain == ("It is 2.\n", "Well, {1 < 2}.\n So", [])
    opened = read_at_every_cut(Reading(opened=tags), text.split(tags.start)[1])
    assert opened.plain == found.plain


@by_tags
def test_a_thought_that_stays(tags: Tags) -> None:
    text = f"\n{tags.start}\nWell.\n{tags.end}\n\nIt is 2. {tags.start}"
    assert read_at_every_cut(Reading(tags=(tags,), split=False), text).plain == (text, "", [])
    assert read_at_every_cut(Reading(opened=tags, split=False), text).plain == (text, "", [])


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("", "", ""),
        (" \n", " \n", ""),
        ("Hello <think>not</think>", "Hello <think>not</think>", ""),
        ("<think", "<think", ""),
        ("<thinker>", "<thinker>", ""),
        ("<think></think>\n\nHi", "Hi", ""),
        ("<think>\n\n</think>\n\nHi", "Hi", ""),
        ("<think>a <think> b</think>c</think>", "c</think>", "a <think> b"),
        ("<think>never ends", "", "never ends"),
        ("<think>half </thi", "", "half </thi"),
        ("<thinking>a</think></thinking>b", "b", "a</think>"),
        (" indented", " indented", ""),
    ],
)
def test_odd_thoughts(text: str, answer: str, reasoning: str) -> None:
    assert read_at_every_cut(THINKING, text).plain == (answer, reasoning, [])


def test_calls_within_a_thought_are_thoughts() -> None:
    call = HERMES.write(CALLS[:1])
    for split in (True, False):
        found = read_at_every_cut(calling(HERMES, tags=(THINK,), split=split), f"<think>\n{call}\n</think>\n{call}")
        assert found.parsed == [CALLS[0]]
        assert found.reasoning == (call if split else "")
        assert found.text == ("" if split else f"<think>\n{call}\n</think>")


def test_text_between_calls() -> None:
    a, b = HERMES.write(CALLS[:1]), HERMES.write(CALLS[1:2])
    found = read_at_every_cut(calling(HERMES), f"First:\n\n{a}\nthen\n{b}\n\n")
    assert found.parsed == list(CALLS[:2])
    assert found.text == "First:then"


@pytest.mark.parametrize(
    ("format", "text", "calls"),
    [
        (HERMES, '<tool_call>{"name": "roll", "arguments": {"sides": 6}}', ['{"sides": 6}']),
        (HERMES, "<tool_call>{'name': 'roll', 'arguments': {'sides': 6}}</tool_call>", ['{"sides": 6}']),
        (HERMES, '<tool_call>{"arguments": {"sides": 6}, "name": "roll"}</tool_call>', ['{"sides": 6}']),
        (HERMES, '<tool_call>{"name": "roll", "arguments": "{\\"sides\\": 6}"}</tool_call>', ['{"sides": 6}']),
        (HERMES, '<tool_call>{"name": "roll", "arguments": {"sides": 6}}}</tool_call>', ['{"sides": 6}']),
        (
            HERMES,
            '<tool_call>[{"name": "roll", "arguments": {"sides": 6}}, {"name": "now"}]</tool_call>',
            ['{"sides": 6}', "{}"],
        ),
        (HERMES, '<tool_call>{"name": "roll", "arguments": {"sides": 6', ['{"sides": 6']),
        (
            HERMES,
            "<tool_call>\n<function=roll>\n<parameter=sides>\n6\n</parameter>\n</function>\n</tool_call>",
            ['{"sides": 6}'],
        ),
        (LLAMA, '<|python_tag|>{"name": "roll", "parameters": {"sides": 6}}', ['{"sides": 6}']),
        (LLAMA, '{"type": "function", "name": "roll", "parameters": {"sides": 6}}', ['{"sides": 6}']),
        (LLAMA, '<function=roll>{"sides": 6}</function>', ['{"sides": 6}']),
        (LLAMA, "<|python_tag|>roll.call(sides=6)", ['{"sides": 6}']),
        (MISTRAL, '[TOOL_CALLS] [{"name": "roll", "arguments": {"sides": 6}}]', ['{"sides": 6}']),
        (MISTRAL, '[TOOL_CALLS]roll[ARGS]{"sides": 6}', ['{"sides": 6}']),
        (MISTRAL, '[TOOL_CALLS]roll[CALL_ID]123456789[ARGS]{"sides": 6}[TOOL_CALLS]now{}', ['{"sides": 6}', "{}"]),
        (PYTHONIC, "[roll(6), now()]", ['{"sides": 6}', "{}"]),
        (PYTHONIC, "[roll(sides = 6)]", ['{"sides": 6}']),
    ],
)
def test_calls_as_models_slip(format, text: str, calls: list[str]) -> None:
    found = read_at_every_cut(calling(format), text)
    assert [call[1] for call in found.calls.values()] == calls
    assert found.text == ""
    assert found.calls[0][0] == "roll"


@pytest.mark.parametrize(
    ("format", "text"),
    [
        (LLAMA, '{"name": "Ann", "age": 3}'),
        (LLAMA, '{"name": "unknown", "parameters": {}}'),
        (LLAMA, '{"answer": {"name": "roll"}}'),
        (PYTHONIC, "[unknown(1)]"),
        (PYTHONIC, "[1, 2, 3]"),
        (PYTHONIC, "[roll]"),
        (HERMES, "Use <tool_call> tags."),
        (HERMES, "<tool_call>"),
        (HERMES, "<tool_call>no json</tool_call>"),
        (MISTRAL, "[TOOL_CALLS] is a mark"),
    ],
)
def test_what_only_looks_like_calls(format, text: str) -> None:
    assert read_at_every_cut(calling(format), text).plain == (text, "", [])


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("behind", ["", " ", "{", "roll(", "x\n"])
def test_a_model_that_repeats_a_mark_costs_no_more_than_another(format, behind: str) -> None:
    """Each mark of them once was read from to the end of the answer: seconds in which nobody else was answered."""
    text = (format.opens[0] + behind) * 3_000 if format.opens else ""
    began_s = time.process_time()
    found = read(calling(format), [text[at : at + 20] for at in range(0, len(text), 20)])
    assert time.process_time() - began_s < 4
    if format is not CHANNELS and behind in ("", " "):
        assert found.plain == (text, "", [])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_answer_at_any_cut(data: st.DataObject) -> None:
    """Nothing is lost but marks, calls and the white space around them, wherever it is cut."""
    format = data.draw(st.sampled_from(FORMATS))
    pieces = [
        "<think>",
        "</think>",
        "<th",
        "nk>",
        " ",
        "\n",
        "Hi",
        "<",
        *format.opens,
        format.write(CALLS[:1]),
        "{",
        "[",
        "roll(",
    ]
    text = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=12)))
    reading = calling(format, tags=with_common(()), split=data.draw(st.booleans()))
    cuts = data.draw(st.lists(st.integers(0, 500), max_size=8))
    assert read(reading, cut_at(text, cuts)).plain == read(reading, [text]).plain
    plain = Reading(split=False)
    assert read(plain, cut_at(text, cuts)).plain == (text, "", [])


def test_which_tags() -> None:
    assert find_tags("{{ '<think>' }}…{{ content.split('</think>') }}", ()) == (THINK,)
    assert find_tags("plain", ()) == ()
    assert find_tags("plain", ("[THINK]", "[/THINK]")) == (Tags("[THINK]", "[/THINK]"),)


@pytest.mark.parametrize(
    ("text", "continued", "opened"),
    [
        ("<|im_start|>assistant\n", None, None),
        ("<|im_start|>assistant\n<think>\n", None, THINK),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", None, None),
        ("user: <think>\nassistant: ", None, None),
        ("assistant\n<think>\nWell", "<think>\nWell", THINK),
        ("assistant\n<think>\nWell</think>So", "<think>\nWell</think>So", None),
        ("assistant\nUse <think>", "Use it", THINK),
    ],
)
def test_a_thought_that_the_prompt_opens(text: str, continued: str | None, opened: Tags | None) -> None:
    assert opened_in(text, continued, with_common(())) == opened


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_half_a_call_is_not_taken_for_a_whole_one(format) -> None:
    """Cut anywhere before its arguments are complete, a call's arguments are no JSON: nobody carries out half of it."""
    call = CALLS[3]
    text = format.write([call])
    for cut in range(len(text)):
        found = read(calling(format), [text[:cut]])
        for _, arguments, _ in found.calls.values():
            try:
                whole = json.loads(arguments)
            except ValueError:
                continue
            assert whole in (call.arguments, {"about": call.arguments["about"]}), text[:cut]


@pytest.mark.parametrize("format", [format for format in FORMATS if not format.bare], ids=lambda format: format.name)
def test_no_piece_of_a_call_that_was_cut_off_is_shown(format) -> None:
    """`max_tokens` may end an answer anywhere: what is there of a call's marks is no text for a reader, and no call is lost."""
    before, first, both = "Let me see.", format.write(CALLS[:1]), format.write(CALLS[:2])
    first_mark = next(mark for mark in format.opens if both.startswith(mark))
    for cut in range(len(first_mark), len(both)):
        if format is CHANNELS and channels.STARTS.num_undecided(both[:cut]):
            continue  # these are tokens, and are not cut
        said = f"{before}\n\n{both[:cut]}"
        found = read(calling(format), [said], cut=True)
        assert found.text == before, both[:cut]
        assert len(found.calls) >= (cut >= len(first)), both[:cut]
        assert found.plain == read(calling(format), said, cut=True).plain


@pytest.mark.parametrize(
    "text", ["Use <tool_call> tags.", "a <tool_call> b", "<tool_call>no json</tool_call>", "1 <", "if a < b", "<b>", "Hi"]
)
def test_text_that_was_cut_off_stays(text: str) -> None:
    assert read(calling(HERMES), [text], cut=True).plain == (text, "", [])


def part(channel: str, text: str, end: str = "<|end|><|start|>assistant") -> str:
    return f"<|channel|>{channel}<|message|>{text}{end}"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (part("analysis", "Hm.\n") + part("final", "It is 2.", "<|return|>"), ("It is 2.", "Hm.", [])),
        (part("final", "It < 2.", ""), ("It < 2.", "", [])),
        (part("analysis", "Hm", ""), ("", "Hm", [])),
        ("Plain text", ("Plain text", "", [])),
        (" to=functions.roll is how", (" to=functions.roll is how", "", [])),
        ("<|channel|>" + "x" * 300 + "<|message|>y", ("<|channel|>" + "x" * 300 + "<|message|>y", "", [])),
        (
            part("analysis", "Hm") + part("commentary to=functions.roll <|constrain|>json", '{"sides": 6}', "<|call|>"),
            ("", "Hm", [["roll", '{"sides": 6}']]),
        ),
        (
            " to=functions.roll" + part("commentary json", '{"sides": 6}', ""),
            ("", "", [["roll", '{"sides": 6}']]),
        ),
        (
            part("commentary", "I shall roll.") + part("commentary to=functions.roll", "{}", "<|call|>"),
            ("I shall roll.", "", [["roll", "{}"]]),
        ),
    ],
)
def test_channels(text: str, plain) -> None:
    assert read_at_every_cut(calling(CHANNELS), text).plain == plain


def test_channels_without_tools_and_unsplit() -> None:
    text = part("analysis", "Hm") + part("final", "Yes", "")
    assert read_at_every_cut(Reading(channels=True), text).plain == ("Yes", "Hm", [])
    unsplit = read_at_every_cut(Reading(channels=True, split=False), text)
    assert unsplit.plain == ("<|channel|>analysis<|message|>Hm<|end|>Yes", "", [])
