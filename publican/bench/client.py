"""`Client`: asks a server with OpenAI's API, one streamed answer at a time, and notes when what came.

Speaks ``/v1/completions`` or ``/v1/chat/completions``. Runs on one event loop; httpx is the only library.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import httpx

from publican.bench.sse import EventReader
from publican.bench.timeline import Record, Timeline, complaint
from publican.core.errors import PublicanError, SettingsError

Api = Literal["completions", "chat"]


@dataclass(frozen=True, slots=True)
class Asking:
    """What every request of a run has in common.

    Attributes:
        api: plain completion needs no chat template, and a prompt's first token is then its own.
        max_tokens: tokens of each answer; with `ignore_eos`, which OpenAI's own servers refuse, exactly so many.
        temperature: 0 is greedy.
        timeout_s: the longest silence of the server in the middle of an answer, or before it.
    """

    url: str
    key: str | None = None
    model: str | None = None
    api: Api = "completions"
    max_tokens: int = 64
    temperature: float = 0.8
    ignore_eos: bool = True
    timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One request: what was said before it, as (question, answer), and what is asked now."""

    user: int
    turn: int
    card: str
    history: tuple[tuple[str, str], ...]
    message: str
    seed: int


class Client:
    """Use as ``async with``; connections are kept between requests, as clients do."""

    def __init__(self, asking: Asking, num_connections: int) -> None:
        self.asking = asking
        self.url = asking.url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {asking.key}"} if asking.key else {}
        limits = httpx.Limits(max_connections=num_connections, max_keepalive_connections=num_connections)
        timeout = httpx.Timeout(asking.timeout_s, connect=10.0)
        try:
            self._http = httpx.AsyncClient(base_url=self.url + "/v1", headers=headers, limits=limits, timeout=timeout)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise SettingsError(f"{asking.url!r} is no address, or the key is no key: {error}.") from None
        self._model = asking.model

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def model(self) -> str:
        """The model that is asked: the one wanted, or the server's first.

        Raises:
            PublicanError: there is no server, it refuses us, or it has no model.
        """
        if self._model is None:
            try:
                answer = await self._http.get("/models")
            except httpx.HTTPError as error:
                raise PublicanError(f"No server answers at {self.url} ({type(error).__name__}); start one first.") from None
            if answer.is_error:
                raise PublicanError(f"The server at {self.url} refuses: {_refusal(answer)}")
            try:
                names = [str(model["id"]) for model in answer.json()["data"] or ()]
            except (ValueError, TypeError, KeyError):
                raise PublicanError(f"What answers at {self.url} does not list models as OpenAI does; name one.") from None
            if not names:
                raise PublicanError(f"The server at {self.url} has no model loaded; load one first.")
            self._model = names[0]
        return self._model

    async def ask(self, turn: Turn, began_s: float) -> tuple[Record, str]:
        """One answer: what was measured, and its text. Whatever goes wrong is in the record."""
        path, body = _body(self.asking, await self.model(), turn)
        timeline = Timeline(turn.user, turn.turn, began_s, time.perf_counter())
        reader = EventReader()
        try:
            async with self._http.stream("POST", path, json=body) as response:
                if response.is_error:
                    await response.aread()
                    timeline.fail(f"{response.status_code}: {_refusal(response)}")
                else:
                    async for piece in response.aiter_bytes():
                        now_s = time.perf_counter()
                        for event in reader.feed(piece):
                            timeline.event(event, now_s)
        except httpx.TimeoutException:
            timeline.fail(f"said nothing for {self.asking.timeout_s:g} s")
        except httpx.HTTPError as error:
            timeline.fail(f"the connection failed: {error or type(error).__name__}")
        return timeline.end(time.perf_counter()), timeline.text


def _refusal(response: httpx.Response) -> str:
    try:
        return complaint(response.json())
    except ValueError:
        return response.text[:200] or response.reason_phrase


def _body(asking: Asking, model: str, turn: Turn) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": asking.max_tokens,
        "temperature": asking.temperature,
        "seed": turn.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if asking.ignore_eos:
        body["ignore_eos"] = True
    if asking.api == "chat":
        return "/chat/completions", body | {"messages": _messages(turn)}
    return "/completions", body | {"prompt": _prompt(turn)}


def _prompt(turn: Turn) -> str:
    lines = [f"User: {question}\nKeeper: {answer.strip()}" for question, answer in turn.history]
    return "\n".join([turn.card, "", *lines, f"User: {turn.message}", "Keeper:"])


def _messages(turn: Turn) -> list[dict[str, str]]:
    """The card stands in the first message of the user: not every chat template knows a system."""
    questions = [*(question for question, _ in turn.history), turn.message]
    questions[0] = f"{turn.card}\n\n{questions[0]}"
    messages = []
    for question, (_, answer) in zip(questions, [*turn.history, ("", "")], strict=True):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages[:-1]
