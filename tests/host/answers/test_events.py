"""A request's events on their way to its caller."""

from __future__ import annotations

import json
import random

import pytest

from publican.core.errors import EngineError, InvalidParameter
from publican.core.events import (
    ChoiceFinished,
    Delta,
    Event,
    Failed,
    Finished,
    FinishReason,
    Queued,
    Started,
    TokenOutput,
    ToolCallDelta,
    Usage,
)
from publican.core.ids import TokenId
from publican.host.answers.events import AnswerEvents
from publican.host.answers.formats.table import FORMATS, HERMES
from publican.host.answers.marks import Marks
from publican.host.answers.reading import Reading
from publican.host.answers.thoughts import THINK
from tests.host.answers.asked import CALLS, Read, calling

END = Finished(Usage(3, 5))
THINKING = Reading(tags=(THINK,))


def deltas(text: str, index: int = 0, seed: int = 0) -> list[Delta]:
    """`text` in tokens of one to four characters, numbered."""
    draw, at, out = random.Random(seed), 0, []
    while at < len(text):
        num = draw.randint(1, 4)
        out.append(Delta(index, text[at : at + num], (TokenOutput(TokenId(at)),)))
        at += num
    return out


def through(reading: Reading, events: list[Event], every_token: bool = False) -> list[Event]:
    it = AnswerEvents(reading, every_token)
    return [out for event in events for out in it.of(event)]


def stop(index: int = 0, reason: FinishReason = FinishReason.STOP) -> ChoiceFinished:
    return ChoiceFinished(index, reason, TokenId(1))


def tokens_of(events: list[Event]) -> list[TokenId]:
    return [token.id for event in events if isinstance(event, Delta) for token in event.tokens]


def test_a_thought_comes_apart() -> None:
    sent = deltas("<think>\nWell, well.\n</think>\n\nIt is 2.")
    got = through(THINKING, [Queued(0), Started(3), *sent, stop(), END])
    assert got[:2] == [Queued(0), Started(3)]
    assert got[-2:] == [stop(), END]
    said = [event for event in got if isinstance(event, Delta)]
    assert "".join(event.reasoning for event in said) == "Well, well."
    assert "".join(event.text for event in said) == "It is 2."
    assert len(said) > 4
    assert tokens_of(got) == tokens_of(sent)


@pytest.mark.parametrize("every_token", [False, True])
def test_every_token_comes_once_and_in_order(every_token: bool) -> None:
    text = f"<think>hm</think>Let me see. <{HERMES.write(CALLS[:2])}"
    for seed in range(20):
        sent = [*deltas(text, seed=seed), Delta(0, "", (TokenOutput(TokenId(9_999)),))]
        got = through(calling(HERMES, tags=(THINK,)), [*sent, stop(), END], every_token)
        ids = tokens_of(sent)
        assert tokens_of(got) == ids if every_token else tokens_of(got) == ids[: len(tokens_of(got))]
        assert all(event.text or event.reasoning for event in got if isinstance(event, Delta)) or every_token


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_calls_stream_and_end_as_calls(format) -> None:
    text = format.write(CALLS[:3])
    got = through(calling(format), [*deltas(text), stop(), END])
    found = Read()
    for event in got[:-2]:
        found.add(event)
    assert found.parsed == list(CALLS[:3])
    assert found.text == ""
    assert got[-2] == ChoiceFinished(0, FinishReason.TOOL_CALLS, TokenId(1))
    if format.name in ("hermes", "llama3", "mistral"):
        assert sum(isinstance(event, ToolCallDelta) for event in got) > 10


def test_what_is_cut_short_says_so() -> None:
    text = HERMES.write(CALLS[:1])[:-20]
    got = through(calling(HERMES), [*deltas(text), stop(reason=FinishReason.LENGTH), END])
    assert got[-2] == stop(reason=FinishReason.LENGTH)
    assert any(isinstance(event, ToolCallDelta) for event in got)


def test_choices_do_not_meet() -> None:
    a, b = deltas(HERMES.write(CALLS[:1]), 0), deltas("<think>So</think>Plain <", 1)
    mixed = [event for pair in zip(a, b, strict=False) for event in pair] + a[len(b) :] + b[len(a) :]
    got = through(calling(HERMES, tags=(THINK,)), [*mixed, stop(1), stop(0), END])
    calls = [event for event in got if isinstance(event, ToolCallDelta)]
    assert {event.index for event in calls} == {0}
    assert json.loads("".join(event.arguments for event in calls)) == CALLS[0].arguments
    said = [event for event in got if isinstance(event, Delta)]
    assert ("".join(e.text for e in said), "".join(e.reasoning for e in said)) == ("Plain <", "So")
    ends = [event for event in got if isinstance(event, ChoiceFinished)]
    assert [(end.index, end.reason) for end in ends] == [(1, FinishReason.STOP), (0, FinishReason.TOOL_CALLS)]


def test_special_tokens_are_hidden_but_for_marks() -> None:
    reading = calling(HERMES, hidden=Marks(("<|im_end|>", "<s>", "[INST]", "<tool_call>")))
    text = f"<s>Hi[INST] <b> [{HERMES.write(CALLS[:1])}<|im_end|>"
    for seed in range(20):
        found = Read()
        for event in through(reading, [*deltas(text, seed=seed), stop(), END], every_token=True):
            if isinstance(event, ToolCallDelta) or (isinstance(event, Delta) and event.text):
                found.add(event)
        assert found.text == "Hi <b> ["
        assert found.parsed == [CALLS[0]]


def test_a_held_back_beginning_of_a_special_token_comes_in_the_end() -> None:
    got = through(Reading(hidden=Marks(("<|im_end|>",))), [*deltas("a <|im_"), stop(), END])
    assert "".join(event.text for event in got if isinstance(event, Delta)) == "a <|im_"
    assert tokens_of(got) == tokens_of(deltas("a <|im_"))


def test_a_schema_that_cannot_be_demanded_is_the_tools_fault() -> None:
    error = InvalidParameter("grammar", "cannot be followed: it is too large.")
    (got,) = through(calling(HERMES, forced=True), [Failed(error)])
    assert isinstance(got, Failed)
    assert isinstance(got.error, InvalidParameter)
    assert got.error.name == "tools"
    assert "too large" in str(got.error)
    assert through(calling(HERMES), [Failed(error)]) == [Failed(error)]
    broken = Failed(EngineError("x"))
    assert through(calling(HERMES, forced=True), [broken]) == [broken]
