"""A conversation that has grown too long loses its oldest turns, as Ollama's clients expect. Event loop only."""

from __future__ import annotations

from dataclasses import replace

from publican.core.backend import Host
from publican.core.request import ChatPrompt, Message, Request

_BYTES_AROUND = 64
"""More than a template writes around a message, in tokens of one byte."""


async def fitted(host: Host, request: Request, room: int | None, context_len: int) -> Request:
    """`request` with as many of its newest messages as fit; system messages and the last one always stay.

    Args:
        room: tokens that the prompt may have; None changes nothing.
        context_len: the model's; 0 is unknown.
    """
    prompt = request.prompt
    if room is None or not isinstance(prompt, ChatPrompt) or not context_len:
        return request
    room = min(room, context_len - (request.stopping.max_tokens or 1))
    if not prompt.tools and sum(len(m.content.encode()) + _BYTES_AROUND for m in prompt.messages) < room:
        return request
    fewest, most = 0, sum(message.role != "system" for message in prompt.messages) - 1
    if most < 1 or await _fits(host, prompt, room):
        return request
    while fewest < most:  # the fewest to leave out
        middle = (fewest + most) // 2
        if await _fits(host, without(prompt, middle), room):
            most = middle
        else:
            fewest = middle + 1
    return replace(request, prompt=without(prompt, fewest))


async def _fits(host: Host, prompt: ChatPrompt, room: int) -> bool:
    return len(await host.tokenize(prompt)) <= room


def without(prompt: ChatPrompt, num_turns: int) -> ChatPrompt:
    """`prompt` without its oldest messages that are not of the system; a tool's answer goes with its question, but for the
    last message, which stays."""
    kept: list[Message] = []
    for message in prompt.messages:
        if message.role == "system":
            kept.append(message)
        elif num_turns > 0:
            num_turns -= 1
        elif message.role != "tool" or message is prompt.messages[-1] or any(one.role == "assistant" for one in kept):
            kept.append(message)
    return replace(prompt, messages=tuple(kept))
