"""`ModelLibrary`: the models folder, and how each model in it would be loaded. Opens and decides; starts nothing.

Reading headers and tokenizers takes up to a second, on a thread; the event loop goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from publican.core.backend import ModelCard, PullProgress
from publican.core.errors import ModelNotFound, Unsupported, UnsupportedModel
from publican.core.model import Adapter, Checkpoint
from publican.core.model_info import ModelInfo
from publican.core.presets import Presets
from publican.core.tokenizer import Vocabulary
from publican.engine.budget import BudgetConfig
from publican.hardware.machine import Machine, read_this_machine
from publican.hardware.plan import without
from publican.hardware.slots import MOST_SLOTS
from publican.host.adapters import open_adapters, with_adapters
from publican.host.asked_options import with_asked
from publican.host.available import available
from publican.host.choose import Chosen
from publican.host.describe import describe
from publican.host.draft import Draft, check_tokens, draft_spec, settle_with
from publican.host.fit import Fit, most_slots
from publican.host.fit_shape import is_encoder, shape_model
from publican.host.guessing import has_draft, max_drafting, max_guessing
from publican.host.model import LoadedModel, ModelDescription
from publican.host.model_settings import model_settings, ways_of
from publican.host.options import LoadOptions, WorkerSpec
from publican.host.port import EnginePort
from publican.host.prompts import Prompter
from publican.host.pulling import Puller
from publican.host.settle import settle
from publican.host.template_files import template_for
from publican.host.templates import ChatTemplates
from publican.host.tokenizer import load_tokenizer, text_end
from publican.host.vectors import vector_style
from publican.store.catalogue import StoredModel, find_model, list_models
from publican.store.checkpoint import open_checkpoint
from publican.store.remove import link_model, remove_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A model, decided: what would be loaded and why. `publican serve` prints it."""

    stored: StoredModel
    checkpoint: Checkpoint
    chosen: Chosen
    fit: Fit
    spec: WorkerSpec
    draft: Draft | None = None


class ModelLibrary:
    """Follows `host.Library`.

    Args:
        folder: the models folder.
        options: how models are loaded unless a caller says otherwise.
        make_port: a worker process, or a thread.
        max_waiting: requests that may wait for a model.
        machine: what there is to load them into; called for each, for what is free changes.
        puller: what downloads models; None for a server that does not.
    """

    def __init__(
        self,
        folder: Path,
        options: LoadOptions,
        make_port: Callable[[], EnginePort],
        max_waiting: int,
        machine: Callable[[], Machine] = read_this_machine,
        puller: Puller | None = None,
    ) -> None:
        self.folder = folder
        self.last_opened: Opened | None = None
        self._options = options
        self._make_port = make_port
        self._max_waiting = max_waiting
        self._machine = machine
        self._newest: LoadedModel | None = None
        self._puller = puller
        self._elsewhere: dict[str, StoredModel] = {}
        self._drafts: dict[str, StoredModel] = {}
        self._adapted: str | None = None

    def add(self, stored: StoredModel) -> None:
        """Let a model that the owner named by its path be asked for by its name."""
        self._elsewhere[stored.name] = stored

    async def names(self) -> tuple[str, ...]:
        return tuple(await self._stored())

    async def cards(self) -> tuple[ModelCard, ...]:
        models = (await self._stored()).values()
        return tuple(ModelCard(m.name, 0, False, int(m.modified_s), {}, m.num_bytes) for m in models)

    async def _stored(self) -> dict[str, StoredModel]:
        """By name, the owner's own first, which wins over one of that name in the folder."""
        own, listed = dict(self._elsewhere), await asyncio.to_thread(list_models, self.folder)
        return {**own, **{m.name: m for m in listed if m.name not in own}}

    async def _find(self, name: str) -> StoredModel:
        return self._elsewhere[name] if name in self._elsewhere else await asyncio.to_thread(find_model, name, self.folder)

    async def open(self, name: str, options: Mapping[str, Any]) -> LoadedModel:
        wanted = with_asked(self._options, options)
        return await asyncio.to_thread(self.open_model, await self._find(name), wanted)

    async def describe(self, name: str) -> ModelInfo:
        return await asyncio.to_thread(_describe, await self._find(name), self._options)

    async def pull(self, source: str) -> AsyncIterator[PullProgress]:
        if self._puller is None:
            raise Unsupported("This server does not download models; put their files into its models folder.")
        async with aclosing(self._puller.pull(source)) as steps:
            async for step in steps:
                yield step

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(remove_model, await self._exactly(name), self.folder)

    async def copy(self, name: str, new_name: str) -> None:
        await asyncio.to_thread(link_model, await self._exactly(name), self.folder, new_name)

    async def _exactly(self, name: str) -> StoredModel:
        """The model of that whole name: a guess must not delete anything."""
        stored = await self._stored()
        if name not in stored:
            raise ModelNotFound(name, tuple(stored))
        return stored[name]

    def add_draft(self, asked: str, stored: StoredModel) -> None:
        """Let `asked`, which may be a path of the owner's, mean this model where it is the draft."""
        self._drafts[asked] = stored

    def _draft(self, name: str) -> StoredModel:
        return self._drafts.get(name) or self._elsewhere.get(name) or find_model(name, self.folder)

    def _adapters_for(self, stored: StoredModel, checkpoint: Checkpoint, options: LoadOptions) -> tuple[Adapter, ...]:
        """The owner's adapters, which are for the model that is opened first and for no other."""
        if not options.adapters:
            return ()
        if self._adapted not in (None, stored.name):
            log.info("%s is loaded without adapters, which are for %s", stored.name, self._adapted)
            return ()
        adapters = open_adapters(options.adapters, stored.name, checkpoint, options.loader)
        self._adapted = stored.name
        return adapters

    def _draft_for(self, stored: StoredModel, vocabulary: Vocabulary, options: LoadOptions) -> StoredModel | None:
        """The draft model for `stored`. The owner's, which need not suit whatever is loaded later, is then left out."""
        if not has_draft(options.speculate, options.draft_model):
            return None
        draft = self._draft(options.draft_model)
        try:
            check_tokens(stored.name, vocabulary, draft)
        except UnsupportedModel as error:
            if self.last_opened is None or options.draft_model != self._options.draft_model:
                raise
            log.info("%s is loaded without a draft: %s", stored.name, error)
            return None
        return draft

    def open_model(self, stored: StoredModel, options: LoadOptions) -> LoadedModel:
        """Everything that can be known before loading. Blocks.

        Raises:
            ModelNotFound: the draft model; ModelFileError, UnsupportedModel, OutOfMemory, SettingsError.
        """
        checkpoint = open_checkpoint(stored.path)
        machine = self._machine()
        if self._newest is not None and self.last_opened is not None and self._newest.is_up:
            machine = without(machine, self.last_opened.fit.plan)  # it goes before this one comes
            if self.last_opened.draft is not None:
                machine = without(machine, self.last_opened.draft.fit.plan)
        adapters = self._adapters_for(stored, checkpoint, options)
        tokenizer = load_tokenizer(checkpoint)
        drafting = self._draft_for(stored, tokenizer.vocabulary, options)
        model, here = with_adapters(shape_model(checkpoint), adapters), available(checkpoint, machine)
        if adapters:  # native's backends apply them, each of which may have to take over from another; libllama does not
            here = replace(here, llama=False)
        draft: Draft | None = None
        if drafting is not None:
            chosen, fitted, draft = settle_with(drafting, model, here, options, machine)
        else:
            chosen, fitted = settle(model, here, options, machine)
        sampling, templates = _asking(checkpoint, tokenizer.vocabulary, options)
        prompter = Prompter(tokenizer, templates, fitted.context_len)
        spec = replace(_spec(checkpoint, tokenizer.vocabulary, chosen, fitted, options, machine.num_cores), adapters=adapters)
        spec = replace(spec, is_encoder=model.is_encoder)
        if draft is not None:
            planned = (spec.planned_bytes[0] + draft.planned_bytes[0], spec.planned_bytes[1] + draft.planned_bytes[1])
            max_tokens = max_drafting(chosen.backend)
            spec = replace(spec, draft=draft_spec(spec, draft), planned_bytes=planned, max_guessing=max_tokens)
        self.last_opened = Opened(stored, checkpoint, chosen, fitted, spec, draft)
        vectors = vector_style(checkpoint, model.is_encoder, text_end(tokenizer))
        info = describe(stored, checkpoint, tokenizer.vocabulary, templates, sampling, vectors.meant)
        description = ModelDescription(stored.name, int(stored.modified_s), chosen.loader, chosen.why, info)
        self._newest = LoadedModel(description, spec, prompter, self._make_port, self._max_waiting, vectors)
        return self._newest


def _spec(
    checkpoint: Checkpoint, vocabulary: Vocabulary, chosen: Chosen, fitted: Fit, options: LoadOptions, num_cores: int
) -> WorkerSpec:
    """What the worker is told, without a draft model."""
    return WorkerSpec(
        loader=chosen.loader,
        backend=chosen.backend,
        checkpoint=replace(checkpoint, metadata={}),  # it wants tensors, not the vocabulary's fifty thousand strings
        vocabulary=vocabulary,
        context_len=fitted.context_len,
        num_tokens=fitted.num_tokens,
        num_slots=min(MOST_SLOTS, 2 * most_slots(options)) if chosen.loader == "llama" else fitted.num_slots,
        max_running=fitted.num_slots,
        max_batch_tokens=fitted.plan.load.chunk_len,
        threads=options.threads or num_cores,
        gpu_layers=fitted.gpu_layers,
        gpu_split=fitted.gpu_split,
        rope=fitted.rope,
        kv_type=fitted.kv_type,
        quality=options.quality,
        planned_bytes=(fitted.plan.host_loaded_bytes, fitted.plan.gpu_loaded_bytes),
        max_guessing=max_guessing(options.speculate, chosen.loader),
        budget=BudgetConfig(target_s=options.target_ms / 1e3),
    )


def _asking(checkpoint: Checkpoint, vocabulary: Vocabulary, options: LoadOptions) -> tuple[Mapping[str, Any], ChatTemplates]:
    """How the model likes to be asked: its sampling parameters, and its templates."""
    own = model_settings(checkpoint, Presets(options.presets_dir))
    return own.sampling, template_for(checkpoint, vocabulary, ways_of(own, options))


def _describe(stored: StoredModel, options: LoadOptions) -> ModelInfo:
    checkpoint = open_checkpoint(stored.path)
    vocabulary = load_tokenizer(checkpoint).vocabulary
    sampling, templates = _asking(checkpoint, vocabulary, options)
    for_vectors = vector_style(checkpoint, is_encoder(checkpoint)).meant
    return describe(stored, checkpoint, vocabulary, templates, sampling, for_vectors)
