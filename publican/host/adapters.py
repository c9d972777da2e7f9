"""LoRA adapters on their way to a worker: opened, checked against the model they are for, and counted. Any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from publican.core.errors import SettingsError, UnsupportedModel
from publican.core.model import Adapter, Checkpoint
from publican.executors.native.loading import objection
from publican.hardware.weights import weights_of
from publican.host.fit_shape import ShapedModel
from publican.host.options import Loader
from publican.store.adapter import open_adapter


def open_adapters(files: Iterable[tuple[str, Path]], model: str, checkpoint: Checkpoint, loader: Loader) -> tuple[Adapter, ...]:
    """The adapters of those names and folders, for the model of that name.

    Raises:
        SettingsError: they cannot be had with this loader, or one is called as the model is.
        ModelFileError, UnsupportedModel: one is damaged, does not fit, or is of a kind that is not applied.
    """
    if loader == "llama":
        raise SettingsError("Adapters run on the native loader; leave --loader on auto, or leave out --lora.")
    adapters = tuple(open_adapter(path, name) for name, path in files)
    if any(adapter.name == model for adapter in adapters):
        raise SettingsError(f"An adapter is called {model!r:.80} as the model is; give it another name: --lora NAME=FOLDER.")
    problem = objection(checkpoint, adapters)
    if problem is not None:
        raise UnsupportedModel(problem)
    return adapters


def with_adapters(model: ShapedModel, adapters: Iterable[Adapter]) -> ShapedModel:
    """`model` with what its adapters take."""
    more = [
        weight
        for adapter in adapters
        for weight in weights_of(
            Checkpoint(
                adapter.name,
                adapter.path,
                "safetensors",
                None,
                {tensor.name: tensor for module in adapter.modules for tensor in (module.down, module.up)},
            )
        )
    ]
    return replace(model, weights=(*model.weights, *more))
