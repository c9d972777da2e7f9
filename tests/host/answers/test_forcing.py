"""A demanded call: what the grammar lets through is read back as a call that the tool's schema allows."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import jsonschema_rs
import pytest

from publican.core.errors import InvalidParameter
from publican.core.request import ChatPrompt, Message, Tool
from publican.core.sampling import SamplingParams
from publican.host.answers.forcing import MOST_CALLS, constrained, demanded, most_calls, offered
from publican.host.answers.formats.format import Call, CallFormat
from publican.host.answers.formats.table import FORMATS
from publican.host.answers.schema import arguments_schema
from publican.host.answers.style import Style, special_texts
from publican.host.answers.thoughts import THINK, Tags
from tests.host.answers.asked import CALLS, ROLL, TOOLS, WEATHER, calling, read
from tests.host.answers.byte_vocabulary import Walk, vocabulary

by_format = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
as_tokens = pytest.mark.parametrize("as_tokens", [False, True], ids=["as text", "as tokens"])


def walk(
    format: CallFormat, prompt: ChatPrompt, as_tokens: bool, tags: tuple[Tags, ...] = (), opened: Tags | None = None
) -> Walk:
    marks = [mark for mark in format.marks if mark[0] in "<[" and mark[-1] in ">]"] if as_tokens else []
    words = vocabulary(marks)
    return Walk(words, constrained(SamplingParams(), prompt, Style(tags, format, True, special_texts(words)), opened))


def chat(choice="required", **rest) -> ChatPrompt:
    return ChatPrompt((Message("user", "Hi"),), tools=tuple(TOOLS.values()), tool_choice=choice, **rest)


@by_format
@as_tokens
def test_what_is_written_is_what_is_demanded(format: CallFormat, as_tokens: bool) -> None:
    it = walk(format, chat(), as_tokens)
    assert it.accepts(format.write(CALLS[:1]))
    assert it.accepts(format.write(CALLS[:3]))
    assert not it.accepts("I do not know.")
    assert not it.accepts(format.write([CALLS[1]._replace(name="unroll")]))
    named = walk(format, chat(ROLL), as_tokens)
    assert named.accepts(format.write([CALLS[1]]))
    assert not named.accepts(format.write([CALLS[0]]))
    assert not named.accepts(format.write([CALLS[1], CALLS[1]]))


@by_format
@as_tokens
def test_any_way_through_is_a_call_by_the_schema(format: CallFormat, as_tokens: bool) -> None:
    draw = random.Random(format.name)
    end = getattr(getattr(format, "first", format), "value_end", "")
    closers = [*filter(None, (end,)), '"', "<|end|>", '<|"|>', ")", "}"]
    it = walk(format, chat(), as_tokens)
    for _ in range(6):
        text = it.at_random(draw, closers)
        found = read(calling(format), [text])
        assert found.text == "", repr(text)
        assert 1 <= len(found.calls) <= MOST_CALLS
        for name, arguments in found.parsed:
            jsonschema_rs.validate(arguments_schema(TOOLS[name]), arguments)


def test_thoughts_come_first() -> None:
    format = FORMATS[-2]
    call = format.write(CALLS[:1])
    may = walk(format, chat(), False, (THINK,))
    assert may.accepts(call)
    assert may.accepts(f"<think>\nWell</think>\n\n{call}")
    over = Walk(vocabulary([]), constrained(SamplingParams(), chat(), Style((THINK,), format), None, closed=True))
    assert over.accepts(call)
    assert not over.accepts(f"<think>\nWell</think>\n\n{call}")
    must = walk(format, chat(), False, (THINK,), opened=THINK)
    assert not must.accepts(call)
    assert must.accepts(f"Well.</think>\n\n{call}")
    tokens = walk(FORMATS[-2], chat(), True, (THINK,))
    assert tokens.accepts(f"<think>\nWell</think>\n\n{call}")


def test_what_is_demanded() -> None:
    assert list(demanded(chat())) == list(TOOLS.values())
    assert list(demanded(chat(WEATHER))) == [WEATHER]
    assert not demanded(chat("auto"))
    assert not demanded(chat("none"))
    assert most_calls(chat()) == MOST_CALLS
    assert most_calls(chat(WEATHER)) == most_calls(chat(parallel_calls=False)) == 1
    assert not offered(chat("none"))
    plain = SamplingParams(json_schema="{}")
    assert constrained(plain, chat("none"), Style(), None) is plain
    assert constrained(plain, chat(), Style(), None).json_schema == ""


def test_any_schema_is_a_grammar() -> None:
    """Hostile and odd schemas: what cannot be followed exactly is followed loosely."""
    odd = [
        {},
        {"type": "object"},
        {"properties": {"a b": {}, "ü": {"type": ["string", "null"]}, '"': {"const": 1}}},
        {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/x"}},
            "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}},
        },
        {"type": "object", "properties": {"x": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}, "required": ["x", "y"]},
        {"type": "object", "properties": {"x": {"type": "string", "format": "uri", "pattern": "^a", "minLength": 3}}},
        {"type": "object", "properties": {"::=": {"type": "string", "enum": ["::=", "</tool_call>"]}}},
    ]
    for format in FORMATS:
        for parameters in odd:
            prompt = ChatPrompt((Message("user", "Hi"),), tools=(Tool("f", "", parameters),), tool_choice="required")
            walk(format, prompt, False)


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": {"x": {"type": "object", "properties": {"y": {"enum": []}}, "required": "y"}}, "required": 3},
        {"properties": {"x": True, "y": {"type": "array"}, "z": {"type": ["object", "string"], "properties": 7}}},
        {"properties": 5},
        {"properties": {"x": {"enum": 5}, "y": {"type": "strange"}, "z": {"items": 4}}},
    ],
)
def test_a_wrong_schema_is_refused_or_followed_loosely(parameters: dict[str, Any]) -> None:
    for format in FORMATS:
        prompt = ChatPrompt((Message("user", "Hi"),), tools=(Tool("f", "", parameters),), tool_choice="required")
        with suppress(InvalidParameter):
            walk(format, prompt, False)


def test_json_or_a_call() -> None:
    """What `response_format` asks for, from a model that may call and has begun to think."""
    format, prompt = FORMATS[-2], chat("auto")
    sampling = SamplingParams(json_schema='{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}')
    words = vocabulary([])
    it = Walk(words, constrained(sampling, prompt, Style((), format), None))
    assert it.accepts('{"a": 1}')
    assert it.accepts(format.write(CALLS[:2]))
    assert not it.accepts("Hello")
    thinking = Walk(words, constrained(sampling, ChatPrompt(prompt.messages), Style((), format), THINK))
    assert thinking.accepts('Well</think>\n\n{"a": 1}')
    assert not thinking.accepts('{"a": 1}')
    choosing = Walk(words, constrained(SamplingParams(choice=("yes", "no")), prompt, Style((), format), THINK))
    assert choosing.accepts("hm</think>no")
    for alone in (sampling, SamplingParams(regex="a+"), SamplingParams(grammar="start: /a/")):
        assert constrained(alone, ChatPrompt(prompt.messages), Style(), None) is alone
    assert constrained(SamplingParams(regex="a+"), prompt, Style(), THINK).regex == "a+"


BOUNDED = Tool(
    "f",
    "",
    {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 5}, "number": {"type": "integer", "minimum": 3, "maximum": 12}},
        "required": ["text", "number"],
    },
)


@by_format
@as_tokens
def test_bounds_are_kept(format: CallFormat, as_tokens: bool) -> None:
    prompt = ChatPrompt((Message("user", "Hi"),), tools=(BOUNDED,), tool_choice="required")
    it = walk(format, prompt, as_tokens)
    for text, number in [("", 3), ("abcde", 12), ("\u5929\u6c17", 7)]:
        assert it.accepts(format.write([Call("f", {"text": text, "number": number})]))
    for text, number in [("abcdef", 5), ("a", 13), ("a", 2)]:
        assert not it.accepts(format.write([Call("f", {"text": text, "number": number})]))


@by_format
def test_a_grammar_grows_as_its_tools_do(format: CallFormat) -> None:
    def length(num_parameters: int) -> int:
        properties = {f"parameter{at:04}": {"type": "string"} for at in range(num_parameters)}
        tool = Tool("f", "", {"type": "object", "properties": properties})
        prompt = ChatPrompt((Message("user", "Hi"),), tools=(tool,), tool_choice=tool)
        return len(constrained(SamplingParams(), prompt, Style((), format), None).grammar)

    assert length(400) - length(200) < 1.2 * (length(200) - length(0))


def test_an_answer_of_which_nothing_is_demanded_has_no_grammar_prepared() -> None:
    style = Style(special=special_texts(vocabulary(["<tool_call>"])))
    assert constrained(SamplingParams(), chat("auto"), style, None) == SamplingParams()
    assert "hidden" not in vars(style)


@by_format
def test_digits_end(format: CallFormat) -> None:
    for bounds in ({}, {"minimum": 2}):
        tool = Tool("roll", "", {"type": "object", "properties": {"sides": {"type": "integer", **bounds}}})
        it = walk(format, ChatPrompt((Message("user", "Hi"),), tools=(tool,), tool_choice=tool), False)
        assert it.accepts(format.write([Call("roll", {"sides": 10**15})]))
        assert it.accepts(format.write([Call("roll", {"sides": -3})])) == (not bounds)
        assert not it.accepts(format.write([Call("roll", {"sides": 10**40})]))
