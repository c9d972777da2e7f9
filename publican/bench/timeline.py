"""`Timeline`: the events of one streamed answer, with the times at which they came, folded into a `Record`.

Knows the chunks of OpenAI's two ways of completing, and what servers add to them; knows no HTTP. Times are given to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One request.

    Attributes:
        error: why there is no whole answer; None if there is one.
        sent_s: when it was sent, since the workload began.
        first_event_s, first_content_s: from there to the first event, and to the first with text. None: never.
        content_end_s, end_s: from there to the last event with text, and to the end of the answer.
        gaps_s: between events with text, in order; an event may hold several tokens.
        num_prompt_tokens, num_output_tokens: as the server counts them. If it does not, the prompt is unknown and every
            event with text counts as a token; `counted` says which.
        num_cached_tokens: how many of the prompt's tokens were found in a cache; None if the server does not say.
    """

    user: int
    turn: int
    sent_s: float
    end_s: float
    error: str | None = None
    first_event_s: float | None = None
    first_content_s: float | None = None
    content_end_s: float | None = None
    gaps_s: tuple[float, ...] = ()
    num_prompt_tokens: int | None = None
    num_cached_tokens: int | None = None
    num_output_tokens: int = 0
    counted: bool = False

    @property
    def token_s(self) -> float | None:
        """Time for each token after the first; None for fewer than two."""
        if self.first_content_s is None or self.content_end_s is None or self.num_output_tokens < 2:
            return None
        return (self.content_end_s - self.first_content_s) / (self.num_output_tokens - 1)


class Timeline:
    """Takes events as they come. `now_s` is any clock, the same throughout."""

    def __init__(self, user: int, turn: int, began_s: float, now_s: float) -> None:
        self._user, self._turn = user, turn
        self._began_s, self._sent_s = began_s, now_s
        self._first_event_s: float | None = None
        self._content_s: list[float] = []
        self._pieces: list[str] = []
        self._usage: dict[str, Any] | None = None
        self._finished = False
        self._error: str | None = None

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def event(self, data: str, now_s: float) -> None:
        """The data of one server-sent event."""
        if self._first_event_s is None:
            self._first_event_s = now_s
        if data.strip() == "[DONE]":
            self._finished = True
            return
        try:
            chunk = json.loads(data)
        except ValueError:
            self.fail(f"sent an event that is not JSON: {data[:80]!r}")
            return
        if not isinstance(chunk, dict):
            self.fail(f"sent an event that is not an object: {data[:80]!r}")
        elif chunk.get("error"):
            self.fail(complaint(chunk))
        else:
            self._take(chunk, now_s)

    def _take(self, chunk: dict[str, Any], now_s: float) -> None:
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            text = _text(choice)
            if text:
                self._pieces.append(text)
                self._content_s.append(now_s)
            if choice.get("finish_reason"):
                self._finished = True

    def fail(self, error: str) -> None:
        """There will be no whole answer; the first reason counts."""
        self._error = self._error or error

    def end(self, now_s: float) -> Record:
        """Everything has come that will come."""
        if not self._finished:
            self.fail("broke off in the middle")
        first, last = (self._content_s[0], self._content_s[-1]) if self._content_s else (None, None)
        counted = _count(self._usage, "completion_tokens")
        return Record(
            user=self._user,
            turn=self._turn,
            sent_s=self._sent_s - self._began_s,
            end_s=now_s - self._sent_s,
            error=self._error,
            first_event_s=self._since(self._first_event_s),
            first_content_s=self._since(first),
            content_end_s=self._since(last),
            gaps_s=tuple(b - a for a, b in zip(self._content_s, self._content_s[1:], strict=False)),
            num_prompt_tokens=_count(self._usage, "prompt_tokens"),
            num_cached_tokens=_cached(self._usage),
            num_output_tokens=len(self._content_s) if counted is None else counted,
            counted=counted is not None,
        )

    def _since(self, time_s: float | None) -> float | None:
        return None if time_s is None else time_s - self._sent_s


def complaint(body: object) -> str:
    """What an error answer says, whoever wrote it."""
    if isinstance(body, dict):
        error = body.get("error") or body.get("detail") or body.get("message") or body
        text = error.get("message", error) if isinstance(error, dict) else error
        return str(text)
    return str(body)


def _text(choice: dict[str, Any]) -> str:
    """Text of a choice in either shape. Thoughts are tokens like others, whatever field they come in."""
    delta = choice.get("delta")
    delta = delta if isinstance(delta, dict) else {}
    texts = (choice.get("text"), *(delta.get(name) for name in ("reasoning_content", "reasoning", "content")))
    return "".join(text for text in texts if isinstance(text, str))


def _count(usage: dict[str, Any] | None, name: str) -> int | None:
    value = (usage or {}).get(name)
    return value if isinstance(value, int) else None


def _cached(usage: dict[str, Any] | None) -> int | None:
    details = (usage or {}).get("prompt_tokens_details")
    return _count(details, "cached_tokens") if isinstance(details, dict) else None
