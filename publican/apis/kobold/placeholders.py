"""KoboldCpp's placeholders: ``{{[INPUT]}}`` stands for whatever the model has before a user's turn, and so on.

Its own page writes chats with them, because it cannot know the model. What they stand for is found by rendering a chat of marks
with the model's own template. Event loop only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from publican.core.backend import Host
from publican.core.errors import InvalidRequest
from publican.core.request import ChatPrompt, Message

_SIGN = "{{["
_SAID = (("system", "<<system>>"), ("user", "<<first>>"), ("assistant", "<<second>>"), ("user", "<<third>>"))
_ENDS = ("{{[INPUT_END]}}", "{{[OUTPUT_END]}}")


@dataclass(frozen=True, slots=True)
class Marks:
    """What a chat template writes around turns. A model without a system's turn has its words where the first turn begins."""

    system_start: str
    system_end: str
    user_start: str
    user_end: str
    assistant_start: str
    assistant_end: str


ALPACA = Marks("", "\n\n", "\n### Instruction:\n", "\n", "\n### Response:\n", "\n")
"""For models without a template; what KoboldCpp takes then."""


async def marks_of(host: Host) -> Marks:
    """Those of the loaded model. Raises ModelNotFound."""
    turns = tuple(Message(role, text) for role, text in _SAID)
    try:
        chat = await _rendered(host, turns)
    except InvalidRequest:  # a template that takes no system's turn
        chat = _SAID[0][1] + await _rendered(host, turns[1:])
    gaps = _gaps(chat)
    if gaps is None:
        return ALPACA
    system_start, before_user, before_assistant, before_next, user_end = gaps
    assistant_end = (await _rendered(host, turns[1:3])).partition(_SAID[2][1])[2]
    if not before_next.startswith(assistant_end):
        assistant_end = ""
    if not before_assistant.startswith(user_end):
        user_end = ""
    user_start = before_next.removeprefix(assistant_end)
    assistant_start = before_assistant.removeprefix(user_end)
    return Marks(system_start, before_user.removesuffix(user_start), user_start, user_end, assistant_start, assistant_end)


async def _rendered(host: Host, turns: tuple[Message, ...]) -> str:
    """A chat that ends with its last turn's end."""
    return await host.render(ChatPrompt(turns, variables={"add_generation_prompt": False}))


def _gaps(chat: str) -> list[str] | None:
    """What stands before each turn and behind the last; None if the template left one out or turned them round."""
    gaps: list[str] = []
    for _, said in _SAID:
        before, found, chat = chat.partition(said)
        if not found:
            return None
        gaps.append(before)
    return [*gaps, chat]


def filled(memory: str, prompt: str, marks: Marks) -> tuple[str, str]:
    """Both with the model's own words. Where there are no placeholders for ends, a beginning also ends what came before."""
    if any(end in memory + prompt for end in _ENDS):
        words = {"INPUT": marks.user_start, "OUTPUT": marks.assistant_start}
    else:
        words = {"INPUT": marks.assistant_end + marks.user_start, "OUTPUT": marks.user_end + marks.assistant_start}
        if not memory and prompt.startswith("{{[INPUT]}}"):  # nothing came before
            prompt = marks.user_start + prompt.removeprefix("{{[INPUT]}}")
    words |= {"SYSTEM": marks.system_start, "SYSTEM_END": marks.system_end}
    words |= {"INPUT_END": marks.user_end, "OUTPUT_END": marks.assistant_end}
    return _replaced(memory, words), _replaced(prompt, words)


def filled_stop(text: str, marks: Marks) -> str:
    """A stop string is one side of a turn only, without the line ends that a model may not write."""
    words = {"INPUT": marks.user_start, "OUTPUT": marks.assistant_start, "SYSTEM": marks.system_start}
    words |= {"INPUT_END": marks.user_end, "OUTPUT_END": marks.assistant_end, "SYSTEM_END": marks.system_end}
    return _replaced(text, {name: word.strip() for name, word in words.items()})


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(f"{{{{[{name}]}}}}", word)
    return text


async def with_words(host: Host, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """`body` with its placeholders replaced, unless it says that they are meant."""
    memory, prompt, stops = body.get("memory") or "", body.get("prompt") or "", body.get("stop_sequence")
    if body.get("replace_instruct_placeholders") is False or not isinstance(memory, str) or not isinstance(prompt, str):
        return body
    stops = [stops] if isinstance(stops, str) else stops
    texts = [text for text in stops if isinstance(text, str)] if isinstance(stops, list) else []
    if not any(_SIGN in text for text in (memory, prompt, *texts)):
        return body
    marks = await marks_of(host)
    memory, prompt = filled(memory, prompt, marks)
    said: dict[str, Any] = {**body, "memory": memory, "prompt": prompt}
    if isinstance(stops, list):
        said["stop_sequence"] = [filled_stop(text, marks) if isinstance(text, str) else text for text in stops]
    return said
