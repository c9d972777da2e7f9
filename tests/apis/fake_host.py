"""A host that plays scripts: exact events, with pauses of the test's choosing, and a memory of what was asked and cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from publican.core.backend import Embeddings, ModelCard, Progress, PullProgress, Status, no_progress
from publican.core.errors import InvalidParameter, ModelNotFound, PublicanError
from publican.core.events import (
    ChoiceFinished,
    Delta,
    Event,
    Failed,
    Finished,
    FinishReason,
    Started,
    TokenOutput,
    TopLogprob,
    Usage,
)
from publican.core.ids import RequestId, TokenId
from publican.core.model_info import InfillTokens, ModelInfo
from publican.core.request import Caller, ChatPrompt, Prompt, Request, TextPrompt, TokenPrompt

FOREVER = 3600.0

TINY = ModelInfo(
    name="tiny",
    format="gguf",
    architecture="llama",
    num_bytes=1_000_000,
    num_parameters=134_515_008,
    modified_s=1_700_000_000.0,
    quantization="Q4_1",
    trained_context_len=2_048,
    hidden_size=576,
    vocab_size=49_152,
    chat_template="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>{# tools #}",
    templates=("chatml", "default"),
    bos="^",
    eos="$",
    infill=InfillTokens(TokenId(0xE001), TokenId(0xE002), TokenId(0xE003)),
    metadata={"general.architecture": "llama", "llama.context_length": 2_048, "general.size_label": "135M"},
)


@dataclass(frozen=True)
class Pause:
    """Nothing comes for so long."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """Nothing comes until a test, on its own thread, says so."""

    released: threading.Event


Step = Event | Pause | Hold | Exception
Script = Callable[[Request], Iterable[Step]]


class ScriptedStream:
    """Follows core.backend.EventStream. Breaks off, as a faulty backend would, where its script raises or just ends."""

    def __init__(self, host: ScriptedHost, request: Request, steps: Iterable[Step]) -> None:
        self._host, self._request, self._steps = host, request, iter(steps)
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ended:
            step = next(self._steps, None)
            if step is None:
                break
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            if isinstance(step, Hold):
                while not step.released.is_set():
                    await asyncio.sleep(0.005)
                continue
            if isinstance(step, Exception):
                raise step
            self._ended = isinstance(step, Finished | Failed)
            return step
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._host.cancelled.append(self._request.id)


@dataclass
class ScriptedHost:
    """Follows core.backend.Host. Text tokenises to one token per character."""

    script: Script = lambda request: answer(request, ["Hello", " world", "!"])
    cards: tuple[ModelCard, ...] = (ModelCard("tiny", 2_048, True, 1_700_000_000, {"loader": "fake"}, 1_000_000, embeds=True),)
    refusal: Exception | None = None
    accept_s: float = 0.0
    load_s: float = 0.0
    requests: list[Request] = field(default_factory=list)
    cancelled: list[RequestId] = field(default_factory=list)
    stopped: list[Caller] = field(default_factory=list)
    ended: list[RequestId | None] = field(default_factory=list)
    loaded: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    changed: list[tuple[str, ...]] = field(default_factory=list)
    current: Status = field(
        default_factory=lambda: Status(True, "ok", 2, 3, 0.25, num_slots=4, num_guessed=20, num_true=15, num_preemptions=7)
    )
    info: ModelInfo = TINY
    pulling: Iterable[PullProgress | Pause | Exception] = (
        PullProgress("reading what there is"),
        PullProgress("fetching", "tiny.gguf", 50, 100),
        PullProgress("fetching", "tiny.gguf", 100, 100),
    )

    async def generate(self, request: Request) -> ScriptedStream:
        if self.accept_s:
            try:
                await asyncio.sleep(self.accept_s)
            except asyncio.CancelledError:
                self.cancelled.append(request.id)
                raise
        if self.refusal is not None:
            raise self.refusal
        self.requests.append(request)
        return ScriptedStream(self, request, self.script(request))

    async def models(self) -> tuple[ModelCard, ...]:
        return self.cards

    def status(self) -> Status:
        loaded = next((card for card in self.cards if card.loaded), None)
        return replace(self.current, card=self.current.card or loaded)

    async def tokenize(self, prompt: Prompt, model: str | None = None) -> tuple[TokenId, ...]:
        match prompt:
            case TokenPrompt(tokens):
                return tokens
            case TextPrompt(text, add_bos):
                return tuple(TokenId(ord(c)) for c in ("^" if add_bos else "") + text)
            case ChatPrompt(messages):
                return tuple(TokenId(ord(c)) for c in "".join(m.content for m in messages))
        raise InvalidParameter("prompt", "is of no kind that this fake knows.")

    async def detokenize(self, tokens: tuple[TokenId, ...], model: str | None = None) -> str:
        return b"".join(await self.pieces(tokens)).decode()

    async def pieces(self, tokens: tuple[TokenId, ...], model: str | None = None) -> tuple[bytes, ...]:
        return tuple(self._piece(token) for token in tokens)

    def _piece(self, token: TokenId) -> bytes:
        if token >= 0x110000 or 0xD800 <= token < 0xE000:
            raise InvalidParameter("tokens", f"holds token {token}, which this fake does not know.")
        return chr(token).encode()

    async def render(self, prompt: ChatPrompt, model: str | None = None) -> str:
        turns = [f"<{message.role}>{message.content}" for message in prompt.messages]
        return "".join(turns) if prompt.continue_last else "".join([*turns, "<assistant>"])

    async def embed(self, prompts: tuple[Prompt, ...], model: str | None = None, truncate: bool = False) -> Embeddings:
        if self.refusal is not None:
            raise self.refusal
        return Embeddings(tuple((0.6, 0.8, 0.0) for _ in prompts), 3 * len(prompts))

    async def describe(self, name: str | None = None) -> ModelInfo:
        if name is None and not any(card.loaded for card in self.cards):
            raise ModelNotFound("")
        if name not in (None, *(card.name for card in self.cards)):
            raise ModelNotFound(name or "", tuple(card.name for card in self.cards))
        return self.info

    async def pull(self, source: str) -> AsyncIterator[PullProgress]:
        self.changed.append(("pull", source))
        try:
            for step in self.pulling:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                else:
                    yield step
        except asyncio.CancelledError:
            self.changed.append(("stopped", source))
            raise

    async def delete(self, name: str) -> None:
        self._must_have(name)
        self.changed.append(("delete", name))

    async def copy(self, name: str, new_name: str) -> None:
        self._must_have(name)
        self.changed.append(("copy", name, new_name))

    def _must_have(self, name: str) -> None:
        if name not in [card.name for card in self.cards]:
            raise ModelNotFound(name, tuple(card.name for card in self.cards))

    async def trace(self) -> tuple[Mapping[str, Any], ...]:
        return ({"plan_ms": 0.1, "execute_ms": 3.0},)

    def stop(self, caller: Caller, request: RequestId | None = None) -> int:
        self.stopped.append(caller)
        self.ended.append(request)
        return 0 if request is None else 1

    async def load(self, name: str, options: Mapping[str, Any], progress: Progress = no_progress) -> ModelCard:
        if self.load_s:
            await asyncio.sleep(self.load_s)
        if self.refusal is not None:
            raise self.refusal
        self.loaded.append((name, options))
        for done in (1, 2):
            progress(done, 2)
        if name == "missing":
            raise ModelNotFound(name, ("tiny",))
        self.cards = (ModelCard(name, 4_096, True),)
        return self.cards[0]

    async def unload(self) -> None:
        self.cards = ()


def answer(
    request: Request, texts: Iterable[str], reason: FinishReason = FinishReason.LENGTH, pause_s: float = 0.0
) -> list[Step]:
    """What a sound engine says to `request` when every choice comes out as `texts`, one token each."""
    wanted = request.wanted
    num_prompt_tokens = 5
    prompt = tuple(token(i, f"p{i}", None if i == 0 else -float(i), wanted.prompt_logprobs) for i in range(num_prompt_tokens))
    echoed = wanted.echo or wanted.prompt_logprobs is not None
    text = "".join(t.piece.decode() for t in prompt)
    steps: list[Step] = [Started(num_prompt_tokens, prompt if echoed else (), text if wanted.echo else "")]
    num_tokens = 0
    for at, piece in enumerate(texts):
        if pause_s:
            steps.append(Pause(pause_s))
        for choice in range(wanted.num_choices):
            num_tokens += 1
            steps.append(Delta(choice, piece, (token(100 + at, piece, -0.5 - at, wanted.logprobs),)))
    steps += [ChoiceFinished(choice, reason) for choice in range(wanted.num_choices)]
    return [*steps, Finished(Usage(num_prompt_tokens, num_tokens, 3, 0.001, 0.002, 0.003))]


def token(id: int, text: str, logprob: float | None, num_top: int | None) -> TokenOutput:
    """A token as an engine gives it out: bare unless log probabilities are wanted."""
    if num_top is None:
        return TokenOutput(TokenId(id))
    top = tuple(TopLogprob(TokenId(id + i), f"{text}{i or ''}".encode(), (logprob or 0.0) - i) for i in range(num_top))
    return TokenOutput(TokenId(id), text.encode(), logprob, top if logprob is not None else ())


def failing(error: PublicanError, *before: Step) -> Script:
    return lambda request: [*before, Failed(error)]
