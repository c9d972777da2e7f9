"""`ModelHost`: which model is loaded, and everything one may ask of it. Follows `core.backend.Host`. Event loop only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from publican.core.backend import Embeddings, EventStream, ModelCard, Progress, PullProgress, Status, no_progress
from publican.core.errors import EngineError, ModelNotFound, Overloaded, PublicanError, Unsupported
from publican.core.ids import RequestId, TokenId
from publican.core.model_info import ModelInfo
from publican.core.request import Caller, ChatPrompt, Prompt, Request
from publican.host.model import LoadedModel

log = logging.getLogger(__name__)

_LOADING_S = 5
"""When to ask again: loading takes seconds to minutes."""


class Library(Protocol):
    """Where models come from. Looks at the disk, on threads."""

    async def names(self) -> tuple[str, ...]:
        """Every model that could be loaded."""
        ...

    async def cards(self) -> tuple[ModelCard, ...]:
        """The same, as callers may know them; none says that it is loaded."""
        ...

    async def open(self, name: str, options: Mapping[str, Any]) -> LoadedModel:
        """Model `name`, decided and ready to be started, but not started. `options` override the library's own.

        Raises:
            ModelNotFound, ModelFileError, UnsupportedModel, OutOfMemory, InvalidParameter.
        """
        ...

    async def describe(self, name: str) -> ModelInfo:
        """What the files of model `name` say. Raises ModelNotFound, ModelFileError, UnsupportedModel."""
        ...

    def pull(self, source: str) -> AsyncIterator[PullProgress]:
        """See `core.backend.Control`."""
        ...

    async def delete(self, name: str) -> None:
        """See `core.backend.Control`. Only a whole name will do; what is loaded is not known here."""
        ...

    async def copy(self, name: str, new_name: str) -> None:
        """See `core.backend.Control`."""
        ...


class ModelHost:
    """One loaded model at a time, swapped on demand."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._model: LoadedModel | None = None
        self._options: Mapping[str, Any] = {}
        self._swapping = asyncio.Lock()
        self._starting: asyncio.Task[Any] | None = None

    @property
    def model(self) -> LoadedModel | None:
        return self._model

    # --- Backend

    async def generate(self, request: Request) -> EventStream:
        return await (await self._loaded()).generate(request)

    async def _loaded(self) -> LoadedModel:
        """The loaded model, whatever a client calls it: clients have no way to know, and many cannot be told."""
        if self._model is None and self._swapping.locked():
            raise Overloaded("A model is being loaded; try again in a moment.", _LOADING_S)
        if self._model is None:
            raise ModelNotFound("", await self._library.names())
        return self._model

    # --- Control

    async def models(self) -> tuple[ModelCard, ...]:
        others = await self._library.cards()
        loaded = (self._model.card,) if self._model else ()
        return (*loaded, *(card for card in others if not loaded or card.name != loaded[0].name))

    def status(self) -> Status:
        if self._model is not None:
            return self._model.status
        loading = self._swapping.locked()
        return Status(not loading, "a model is being loaded" if loading else "no model is loaded")

    async def tokenize(self, prompt: Prompt, model: str | None = None) -> tuple[TokenId, ...]:
        return await (await self._loaded()).prompter.encode(prompt)

    async def detokenize(self, tokens: tuple[TokenId, ...], model: str | None = None) -> str:
        return (await self._loaded()).prompter.decode(tokens)

    async def pieces(self, tokens: tuple[TokenId, ...], model: str | None = None) -> tuple[bytes, ...]:
        return (await self._loaded()).prompter.pieces(tokens)

    async def render(self, prompt: ChatPrompt, model: str | None = None) -> str:
        return await (await self._loaded()).prompter.render(prompt)

    async def embed(self, prompts: tuple[Prompt, ...], model: str | None = None, truncate: bool = False) -> Embeddings:
        return await (await self._loaded()).embed(prompts, truncate)

    async def describe(self, name: str | None = None) -> ModelInfo:
        own = self._model
        if own is not None and own.description.info is not None and name in (None, own.description.name):
            return own.description.info
        return await self._library.describe(name or (await self._loaded()).description.name)

    async def trace(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(asdict(step) for step in await self._model.trace()) if self._model else ()

    def stop(self, caller: Caller, request: RequestId | None = None) -> int:
        return self._model.stop(caller, request) if self._model else 0

    async def load(self, name: str, options: Mapping[str, Any], progress: Progress = no_progress) -> ModelCard:
        """Swap to `name`. What can be known to be wrong is found before the present model goes; if starting still fails,
        the present one is started again."""
        async with self._swapping:
            model = await self._library.open(name, options)
            before, self._model = self._model, None
            if before is not None:
                await before.close()
            try:
                given_up = await self._start(model, progress)
            except PublicanError:
                await model.close()
                if before is not None:
                    await self._return_to(before.description.name)
                raise
            if given_up:
                await model.close()
                raise EngineError(f"{name} was unloaded before it was loaded.")
            self._model, self._options = model, options
            return model.card

    async def _start(self, model: LoadedModel, progress: Progress) -> bool:
        """Whether `unload` was called meanwhile, which nobody should have to wait for. Raises what starting raises."""
        starting = self._starting = asyncio.create_task(model.start(progress))
        try:
            await asyncio.wait({starting})
        finally:
            self._starting = None
            if not starting.done():  # we are cancelled ourselves
                starting.cancel()
                await asyncio.wait({starting})
        if not starting.cancelled():
            starting.result()
        return starting.cancelled()

    async def _return_to(self, name: str) -> None:
        """Load the model before again, as it was asked for."""
        try:
            self._model = await self._library.open(name, self._options)
            if await self._start(self._model, no_progress):
                self._model = None
        except PublicanError as error:
            self._model = None
            log.error("the model before, %s, could not be loaded again: %s", name, error)

    async def unload(self) -> None:
        """Free the model, whether it is loaded or being loaded."""
        if self._starting is not None:
            self._starting.cancel()
        async with self._swapping:
            model, self._model = self._model, None
            if model is not None:
                await model.close()

    def pull(self, source: str) -> AsyncIterator[PullProgress]:
        return self._library.pull(source)

    async def delete(self, name: str) -> None:
        if self._model is not None and name == self._model.description.name:
            raise Unsupported(f"{name} is loaded; unload it before it is deleted.")
        await self._library.delete(name)

    async def copy(self, name: str, new_name: str) -> None:
        await self._library.copy(name, new_name)
