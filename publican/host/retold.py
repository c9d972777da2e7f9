"""A conversation told otherwise, for chat templates that refuse it as it came. Pure.

Gemma's knows no system messages, Mistral's wants turns to alternate and one system message at most, Llama's takes one call in a
turn; clients send all of that (SillyTavern a greeting first and instructions last), and refusing helps nobody. What is said
stays the same; only where it stands changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from publican.core.request import Message

Messages = tuple[Message, ...]
_TURNS = ("user", "assistant")


def tellings(messages: Sequence[Message]) -> Iterator[Messages]:
    """`messages` as they are, and then told otherwise, the least changed first. The next is wanted only if one was refused."""
    told: list[Messages] = []
    for base in (tuple(messages), one_call_a_turn(messages)):
        for changes in _CHANGES:
            changed = base
            for change in changes:
                changed = change(changed)
            if changed not in told:
                told.append(changed)
                yield changed


def system_in_user(messages: Sequence[Message]) -> Messages:
    """The system messages that open it become the beginning of the user's first."""
    count = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    if not count:
        return tuple(messages)
    texts, rest = [message.content for message in messages[:count]], list(messages[count:])
    if rest and rest[0].role == "user":
        return (replace(rest[0], content="\n\n".join([*texts, rest[0].content])), *rest[1:])
    return (Message("user", "\n\n".join(texts)), *rest)


def later_system_as_user(messages: Sequence[Message]) -> Messages:
    """System messages that do not open it are the user's words, as llama.cpp's server has them too."""
    opening = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    rest = (replace(m, role="user") if m.role == "system" else m for m in messages[opening:])
    return (*messages[:opening], *rest)


def alternating(messages: Sequence[Message]) -> Messages:
    """Neighbours who say something in the same role say it at once, and a user who says nothing comes before an assistant who
    begins."""
    turns: list[Message] = []
    for message in messages:
        before = turns[-1] if turns else None
        if message.role == "assistant" and (before is None or before.role == "system"):
            turns.append(Message("user", ""))
        if before is not None and before.role == message.role and _is_plain(before) and _is_plain(message):
            turns[-1] = replace(message, content=f"{before.content}\n\n{message.content}")
        else:
            turns.append(message)
    return tuple(turns)


def one_call_a_turn(messages: Sequence[Message]) -> Messages:
    """Calls that were made at once are made one after the other, each with its result behind it."""
    turns: list[Message] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        calls = message.extra.get("tool_calls")
        if not isinstance(calls, list | tuple) or len(calls) < 2:
            turns.append(message)
            continue
        results = []
        while at < len(messages) and messages[at].role == "tool":
            results.append(messages[at])
            at += 1
        turns += _one_by_one(message, calls, results)
    return tuple(turns)


def _one_by_one(message: Message, calls: Sequence[Any], results: Sequence[Message]) -> Iterator[Message]:
    """A result is that of the call which it names; those that name none are the calls' in their order."""
    ids = [_id_of(call) for call in calls]
    named = {id: [r for r in results if r.extra.get("tool_call_id") == id] for id in ids if id}
    others = iter([result for result in results if result.extra.get("tool_call_id") not in named])
    for at, (call, id) in enumerate(zip(calls, ids, strict=True)):
        yield replace(message, content="" if at else message.content, extra={**message.extra, "tool_calls": [call]})
        own = named.pop(id, None) if id else None
        yield from own or [*itertools.islice(others, 1)]
    yield from others


def _id_of(call: Any) -> str:
    id = call.get("id") if isinstance(call, Mapping) else None
    return id if isinstance(id, str) else ""


def _is_plain(message: Message) -> bool:
    return message.role in _TURNS and not message.extra.get("tool_calls")


_CHANGES: tuple[tuple[Callable[[Sequence[Message]], Messages], ...], ...] = (
    (),
    (alternating,),
    (later_system_as_user, alternating),
    (system_in_user, later_system_as_user),
    (system_in_user, later_system_as_user, alternating),
)
