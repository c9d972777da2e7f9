"""The second seam: a request in, an async stream of events out.

The host, the gateway, a cluster, an upstream server and the fake are all Backends and wrap one another, as ASGI middleware
wraps an app. All methods are called on the event loop and must not block it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from publican.core.events import Event
from publican.core.ids import RequestId, TokenId
from publican.core.model_info import ModelInfo
from publican.core.request import Caller, ChatPrompt, Prompt, Request

Progress = Callable[[int, int], None]
"""Told how much is done, of how much in all. Called on the event loop."""


def no_progress(done: int, total: int) -> None:
    """A `Progress` for whoever does not care."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model as callers may know it. Cheap to make: what is in the model's files is `ModelInfo`.

    `num_bytes` is the size of its files, 0 where nobody knows. `sampling` is what `ModelInfo.sampling` is, of a loaded model.
    `adapters` are the names of those that were loaded with it, each of which may be asked for in its place. Of a loaded model,
    `writes` is whether it answers with text, and `embeds` whether it makes vectors.
    """

    name: str
    context_len: int
    loaded: bool
    created_s: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    num_bytes: int = 0
    sampling: Mapping[str, Any] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    writes: bool = True
    embeds: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """What goes on right now, for health checks and people. Cheap to ask for: every answer is labelled with the card's name.

    `num_slots` answers can be computed at once; 0 where nobody knows. `card` is the loaded model's; None if none is.
    Of `num_guessed` tokens that were guessed before they were computed, `num_true` came true; `num_preemptions` answers had to
    give their memory to others and were begun again. These count since the model's process began.
    """

    healthy: bool
    text: str
    num_running: int = 0
    num_waiting: int = 0
    kv_used: float = 0.0
    num_slots: int = 0
    card: ModelCard | None = None
    num_guessed: int = 0
    num_true: int = 0
    num_preemptions: int = 0


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a download is. `text` says for people what is being done; `num_bytes` of `total_bytes` of `file` are here."""

    text: str
    file: str = ""
    num_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each prompt, in order, as the model gives it (of any length, seldom 1), and how many tokens were read."""

    vectors: tuple[Sequence[float], ...]
    num_tokens: int


class EventStream(Protocol):
    """The events of one accepted request. An async generator is one, but for the first rule:

    `aclose` cancels the request even if no event was ever read. After the last event, iteration ends.
    """

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Event: ...

    async def aclose(self) -> None: ...


class Backend(Protocol):
    """Answers requests."""

    async def generate(self, request: Request) -> EventStream:
        """Accept `request` and return its events, or refuse it by raising.

        Once this has returned the request is accepted: its stream ends in exactly one `Finished` or `Failed` and never raises
        a PublicanError. Closing the stream early (``aclose``) cancels the request within one step.

        Raises:
            InvalidRequest, ModelNotFound, NotAllowed, Overloaded, EngineError: refused; nothing was started.
        """
        ...


class Control(Protocol):
    """What a server must know and do beside generating. A Backend that wraps another passes these on."""

    async def models(self) -> tuple[ModelCard, ...]:
        """The loaded model, and all that could be loaded. May look at a disk: what is loaded is in `status` too."""
        ...

    def status(self) -> Status: ...

    async def tokenize(self, prompt: Prompt, model: str | None = None) -> tuple[TokenId, ...]:
        """The tokens that `prompt` becomes. Raises what `generate` raises for a bad prompt."""
        ...

    async def detokenize(self, tokens: tuple[TokenId, ...], model: str | None = None) -> str: ...

    async def pieces(self, tokens: tuple[TokenId, ...], model: str | None = None) -> tuple[bytes, ...]:
        """The bytes of each token, which may be half a character; a special token has its name."""
        ...

    async def render(self, prompt: ChatPrompt, model: str | None = None) -> str:
        """The text that `prompt` becomes before it is tokenised. Raises what `generate` raises for a bad prompt."""
        ...

    async def embed(self, prompts: tuple[Prompt, ...], model: str | None = None, truncate: bool = False) -> Embeddings:
        """What the model makes of `prompts` as vectors. `truncate` keeps only the beginning of one that is too long.

        Raises:
            Unsupported: this model or its loader gives none.
            InvalidRequest, PromptTooLong: one of the prompts cannot be used.
        """
        ...

    async def describe(self, name: str | None = None) -> ModelInfo:
        """What the files of model `name` (None: the loaded one) say of it, loaded or not.

        Raises:
            ModelNotFound, ModelFileError.
        """
        ...

    async def trace(self) -> tuple[Mapping[str, Any], ...]:
        """How each of the last steps went, oldest first, for whoever looks for lost time: names and numbers, times in
        milliseconds (`*_ms`). Empty where no model is loaded."""
        ...

    def stop(self, caller: Caller, request: RequestId | None = None) -> int:
        """End `request`, or all that `caller` may end, with what they have; returns how many were told to."""
        ...

    async def load(self, name: str, options: Mapping[str, Any], progress: Progress = no_progress) -> ModelCard:
        """Load model `name` in place of the present one.

        Raises:
            ModelNotFound, ModelFileError, UnsupportedModel, OutOfMemory: the present one stays.
        """
        ...

    async def unload(self) -> None: ...

    def pull(self, source: str) -> AsyncIterator[PullProgress]:
        """Download the model that `source` names; it is here when the iteration ends. Closing it early stops the download.

        Raises, while iterating:
            ModelNotFound, ModelFileError, InvalidRequest, Unsupported.
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove the files of model `name`.

        Raises:
            ModelNotFound; Unsupported: it is loaded, or does not lie in the models folder.
        """
        ...

    async def copy(self, name: str, new_name: str) -> None:
        """Let model `name` be found as `new_name` too.

        Raises:
            ModelNotFound, InvalidRequest, Unsupported.
        """
        ...


class Host(Backend, Control, Protocol):
    """A whole server's worth: what `apis` are built on."""
