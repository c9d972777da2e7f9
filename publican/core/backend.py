"""The second seam: a request in, an async stream of events out.

The host, the gateway, a cluster, an upstream server and the fake are all Backends and wrap one another, as ASGI middleware
wraps an app. All methods are called on the event loop and must not block it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from publican.core.events import Event
from publican.core.ids import RequestId, TokenId
from publican.core.request import Caller, Prompt, Request


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model as callers may know it."""

    name: str
    context_len: int
    loaded: bool
    created_s: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """What goes on right now, for health checks and people. Cheap to ask for: every answer is labelled with `model`."""

    healthy: bool
    text: str
    num_running: int = 0
    num_waiting: int = 0
    kv_used: float = 0.0
    model: str = ""


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

    def models(self) -> tuple[ModelCard, ...]: ...

    def status(self) -> Status: ...

    async def tokenize(self, prompt: Prompt, model: str | None = None) -> tuple[TokenId, ...]:
        """The tokens that `prompt` becomes. Raises what `generate` raises for a bad prompt."""
        ...

    async def detokenize(self, tokens: tuple[TokenId, ...], model: str | None = None) -> str: ...

    def stop(self, caller: Caller, request: RequestId | None = None) -> int:
        """End `request`, or all that `caller` may end, with what they have; returns how many were told to."""
        ...

    async def load(self, name: str, options: Mapping[str, Any]) -> ModelCard:
        """Load model `name` in place of the present one.

        Raises:
            ModelNotFound, ModelFileError, UnsupportedModel, OutOfMemory: the present one stays.
        """
        ...

    async def unload(self) -> None: ...


class Host(Backend, Control, Protocol):
    """A whole server's worth: what `apis` are built on."""
