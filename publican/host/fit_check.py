"""Loads a model for the planner's sake, and compares: bytes as they were planned, and as the worker holds them.

Event loop only. The model answers nobody; when it has been measured it is gone.
"""

from __future__ import annotations

from publican.core.backend import Progress, no_progress
from publican.host.library import ModelLibrary
from publican.host.measured import Measured, compare
from publican.host.options import LoadOptions
from publican.store.catalogue import StoredModel


async def check(
    library: ModelLibrary, stored: StoredModel, options: LoadOptions, progress: Progress = no_progress
) -> tuple[Measured, ...]:
    """Load `stored` as it would be served, measure it, and let it go.

    Raises:
        ModelFileError, UnsupportedModel, OutOfMemory, SettingsError, EngineError: as loading does.
    """
    model = library.open_model(stored, options)
    try:
        ready = await model.start(progress)
    finally:
        await model.close()
    return compare(model.spec.planned_bytes, ready)
