"""Chats of the 2023 API: from a history to a prompt, and from an answer to the history after it. Pure.

Three modes. ``chat`` is a script with names; ``instruct`` a conversation in an instruction format; ``chat-instruct`` a
script put into an instruction. Where the request names no format, the model's own chat template is used.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from publican.apis.ooba.instruct import Instruct
from publican.core.request import ChatPrompt, Message, Prompt, TextPrompt

UNSAID = "<|BEGIN-VISIBLE-CHAT|>"
"""What stands for the user's message in a turn that the bot began."""

PROMPT, CHARACTER = "<|prompt|>", "<|character|>"

Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat that waits for the bot.

    Attributes:
        mode: chat, instruct or chat-instruct.
        user, bot: their names.
        context: what a script begins with.
        command: the instruction around a script in chat-instruct, with marks for the script and the bot's name.
        instruct: the format; None is the model's own.
        turns: complete exchanges so far.
        said: the user's newest message.
        begun: the beginning of the bot's answer to it, to be continued; None is a fresh answer.
    """

    mode: str
    user: str
    bot: str
    context: str
    command: str
    instruct: Instruct | None
    turns: Turns
    said: str
    begun: str | None = None

    @property
    def num_rows(self) -> int:
        """Messages that may be forgotten."""
        return len(self._rows)

    @property
    def _rows(self) -> list[tuple[str, str]]:
        """The messages of `turns`: who, and what."""
        rows: list[tuple[str, str]] = []
        for said, answered in self.turns:
            if said not in ("", UNSAID):
                rows.append(("user", said.strip()))
            rows.append(("assistant", answered.strip()))
        return rows

    def prompt(self, num_forgotten: int = 0) -> Prompt:
        """The prompt, without the oldest `num_forgotten` messages."""
        rows = self._rows[num_forgotten:]
        if num_forgotten and rows and rows[0][0] == "assistant":
            rows = rows[1:]  # many formats want the user to begin
        if self.said not in ("", UNSAID):
            rows.append(("user", self.said.strip()))
        if self.mode == "chat":
            return TextPrompt(self._script(rows) + self._bot_speaks)
        if self.mode == "instruct":
            return self._instruction(rows, self.instruct, self.begun)
        script = self.command.replace(CHARACTER, self.bot).replace(PROMPT, self._script(rows))
        return self._instruction([("user", script)], self.instruct, self._bot_speaks)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """What shows that the bot has gone on to speak for others."""
        formatted = self.instruct.stop_strings if self.instruct and self.mode != "chat" else ()
        named = (f"\n{self.user}:", f"\n{self.bot}:") if self.mode != "instruct" else ()
        return formatted + named

    @property
    def _bot_speaks(self) -> str:
        return f"{self.bot}:" if self.begun is None else f"{self.bot}: {self.begun}"

    def _script(self, rows: list[tuple[str, str]]) -> str:
        context = self.context.strip()
        for mark, name in (("{{user}}", self.user), ("<USER>", self.user), ("{{char}}", self.bot), ("<BOT>", self.bot)):
            context = context.replace(mark, name)
        names = {"user": self.user, "assistant": self.bot}
        return f"{context}\n" + "".join(f"{names[role]}: {text}\n" for role, text in rows)

    def _instruction(self, rows: list[tuple[str, str]], form: Instruct | None, begun: str | None) -> Prompt:
        if form is None:
            messages = [Message(role, text) for role, text in rows]
            if begun is not None:
                messages.append(Message("assistant", begun))
            return ChatPrompt(tuple(messages), continue_last=begun is not None)
        said = "".join(form.user_turn(text) if role == "user" else form.bot_turn(text) for role, text in rows)
        opening = form.bot_opening.rstrip(" ") if begun is None else form.bot_opening + begun
        return TextPrompt(form.context + said + opening)


@dataclass(frozen=True, slots=True)
class Histories:
    """The two histories up to the exchange that is being made, and that exchange's beginning."""

    internal: Turns
    visible: Turns
    said: str
    visibly_said: str
    begun: str | None = None
    visibly_begun: str = ""

    def after(self, answer: str) -> dict[str, Any]:
        """Both histories when the bot has answered so much."""
        text = answer.lstrip(" ") if self.begun is None else self.begun + answer
        shown = html.escape(answer).lstrip(" ") if self.begun is None else self.visibly_begun + html.escape(answer)
        return {
            "internal": [list(turn) for turn in (*self.internal, (self.said, text))],
            "visible": [list(turn) for turn in (*self.visible, (self.visibly_said, shown))],
        }


async def fit(conversation: Conversation, count: Callable[[Prompt], Awaitable[int]], max_len: int) -> Prompt:
    """The prompt with as few of the oldest messages forgotten as it takes to be at most `max_len` tokens.

    With all of them forgotten it may still be too long; then it is cut from the left like any other.
    """
    low, high = 0, conversation.num_rows
    while low < high:
        middle = low if low == 0 and high == conversation.num_rows else (low + high) // 2  # most chats fit at once
        if await count(conversation.prompt(middle)) <= max_len:
            if middle == 0:
                return conversation.prompt()
            high = middle
        else:
            low = middle + 1
    return conversation.prompt(low)
