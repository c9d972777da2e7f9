"""Loads a model for the planner's sake, and compares: bytes as they were planned, and as the worker holds them.

Event loop only. The model answers nobody; when it has been measured it is gone.
"""

from __future__ import annotations

import time

from publican.core.backend import Progress, no_progress
from publican.host.fit_records import Record
from publican.host.library import ModelLibrary
from publican.host.measured import compare
from publican.host.model import LoadedModel
from publican.host.options import LoadOptions
from publican.store.catalogue import StoredModel


def record_of(model: LoadedModel) -> Record:
    """What a model that has been loaded holds, beside what was planned."""
    measured = compare(model.spec.planned_bytes, model.ready) if model.ready is not None else ()
    name, loader = model.description.name, model.description.loader
    return Record(name, loader, model.spec.num_tokens, int(time.time()), measured)


async def check(library: ModelLibrary, stored: StoredModel, options: LoadOptions, progress: Progress = no_progress) -> Record:
    """Load `stored` as it would be served, measure it, and let it go.

    Raises:
        ModelFileError, UnsupportedModel, OutOfMemory, SettingsError, EngineError: as loading does.
    """
    model = library.open_model(stored, options)
    try:
        await model.start(progress)
    finally:
        await model.close()
    return record_of(model)
