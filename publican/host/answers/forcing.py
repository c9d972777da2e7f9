"""What `tool_choice` demands, as a grammar that the answer follows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from publican.core.request import ChatPrompt, Tool
from publican.core.sampling import SamplingParams
from publican.host.answers import json_text
from publican.host.answers.lark import Lark
from publican.host.answers.style import Style
from publican.host.answers.thoughts import Tags

MOST_CALLS = 16
"""A demand for "calls" must end somewhere: small models would go on for ever."""


def offered(prompt: ChatPrompt) -> tuple[Tool, ...]:
    """Who may not call is not tempted to."""
    return () if prompt.tool_choice == "none" else prompt.tools


def demanded(prompt: ChatPrompt) -> Sequence[Tool]:
    """The tools of which one must be called; none if nothing is demanded."""
    choice = prompt.tool_choice
    if isinstance(choice, Tool):
        return (choice,)
    return prompt.tools if choice == "required" else ()


def most_calls(prompt: ChatPrompt) -> int:
    """How many calls an answer to `prompt` may hold. Who names one function wants it called once."""
    return MOST_CALLS if prompt.parallel_calls and not isinstance(prompt.tool_choice, Tool) else 1


def constrained(
    sampling: SamplingParams, prompt: ChatPrompt, style: Style, opened: Tags | None, closed: bool = False
) -> SamplingParams:
    """`sampling` with a grammar for whatever the answer to `prompt` must be besides what the request itself says:

    the calls that are demanded, in place of any other constraint; or the JSON or the choice that was asked for, or a call in
    its stead. `opened`: the prompt ends within a thought, which comes to its end first;
    `closed`: with a thought that is over, and no other follows.
    """
    if not demanded(prompt) and not (can_join(sampling) and (opened is not None or offered(prompt))):
        return sampling
    lark = Lark(style.special, style.hidden)
    body = _body(lark, sampling, prompt, style)
    if not body:
        return sampling
    if opened is not None:
        body = lark.sequence(lark.up_to(opened.end), _SPACE, body)
    elif style.tags and demanded(prompt) and not closed:
        thoughts = [lark.rule(lark.sequence(lark.text(tags.start), lark.up_to(tags.end), _SPACE)) for tags in style.tags]
        body = lark.sequence(f"({lark.one_of(thoughts)})?", body)
    return replace(sampling, grammar=lark.grammar(body), json_schema="", regex="", choice=())


def _body(lark: Lark, sampling: SamplingParams, prompt: ChatPrompt, style: Style) -> str:
    """What comes after a thought; empty if the request says it in a way that cannot be put together."""
    tools, most = demanded(prompt), most_calls(prompt)
    if tools:
        return style.format.demand(lark, tools, most)
    answer = (
        lark.one_of([lark.rule(lark.text(c) or '""') for c in sampling.choice]) if sampling.choice else _json(lark, sampling)
    )
    if not answer or not offered(prompt):
        return answer
    return lark.one_of([answer, lark.rule(style.format.demand(lark, offered(prompt), most))])


def _json(lark: Lark, sampling: SamplingParams) -> str:
    schema = json_text.parse(sampling.json_schema)
    return lark.json(schema) if isinstance(schema, Mapping) else ""


def can_join(sampling: SamplingParams) -> bool:
    """Whether the request's constraint can be a part of a larger grammar."""
    return bool(sampling.json_schema or sampling.choice) and not sampling.grammar and not sampling.regex


def is_free(sampling: SamplingParams) -> bool:
    return not (sampling.grammar or sampling.json_schema or sampling.regex or sampling.choice)


_SPACE = r"/\n{0,2}/"
