"""What `tool_choice` demands, as a grammar that the answer follows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from publican.core.request import ChatPrompt, Tool
from publican.core.sampling import SamplingParams
from publican.host.answers.lark import Lark
from publican.host.answers.style import Style
from publican.host.answers.thoughts import Tags

MOST_CALLS = 16
"""A demand for "calls" must end somewhere: small models would go on for ever."""


def demanded(prompt: ChatPrompt) -> Sequence[Tool]:
    """The tools of which one must be called; none if nothing is demanded."""
    choice = prompt.tool_choice
    if isinstance(choice, Tool):
        return (choice,)
    return prompt.tools if choice == "required" else ()


def most_calls(prompt: ChatPrompt) -> int:
    """How many calls an answer to `prompt` may hold. Who names one function wants it called once."""
    return MOST_CALLS if prompt.parallel_calls and not isinstance(prompt.tool_choice, Tool) else 1


def forced(sampling: SamplingParams, prompt: ChatPrompt, style: Style, opened: Tags | None) -> SamplingParams:
    """`sampling` with the calls that `prompt` demands in place of whatever else the answer should follow.

    `opened`: the prompt ends within a thought, which comes to its end first.
    """
    tools = demanded(prompt)
    if not tools:
        return sampling
    lark = Lark(style.special)
    calls = style.format.demand(lark, tools, most_calls(prompt))
    if opened is not None:
        start = lark.sequence(lark.up_to(opened.end), _SPACE, calls)
    elif style.tags:
        thoughts = [lark.rule(lark.sequence(lark.text(tags.start), lark.up_to(tags.end), _SPACE)) for tags in style.tags]
        start = lark.sequence(f"({lark.one_of(thoughts)})?", calls)
    else:
        start = calls
    return replace(sampling, grammar=lark.grammar(start), json_schema="", regex="", choice=())


_SPACE = r"/\n{0,2}/"
