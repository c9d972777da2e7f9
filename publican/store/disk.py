"""How much of the disk models take, and downloads that were begun and not ended. Blocks on the disk; any thread."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from publican.core.errors import ModelFileError
from publican.store.catalogue import StoredModel, model_files
from publican.store.pull.bring import STAGING

_BLOCK_BYTES = 512
_ENDINGS = (".part", ".journal")
"""Of files on their way. Whatever else lies beside them is not ours: the folder may be a link to anywhere."""


def disk_bytes(model: StoredModel) -> int:
    """What deleting `model` would free: nothing for one that is found through a link."""
    if model.link is not None:
        return 0
    return sum(_allocated(file) for file in model_files(model.path) if not file.is_symlink())


def unfinished_bytes(models: Path) -> int:
    """Of downloads that were stopped; pulling the same again goes on from them."""
    return sum(_allocated(path) for path in _staged(models))


def remove_unfinished(models: Path) -> int:
    """Forget all downloads that were stopped; returns the bytes that this freed.

    Raises:
        ModelFileError: the disk refuses.
    """
    freed = unfinished_bytes(models)
    try:
        for path in _staged(models):
            path.unlink()
        with suppress(OSError):
            (models / STAGING).rmdir()
    except OSError as error:
        raise ModelFileError(f"{models / STAGING} cannot be emptied: {error.strerror or error}.") from None
    return freed


def free_bytes(models: Path) -> int:
    """Of the disk that the folder is on, or would be."""
    while not models.exists() and models != models.parent:
        models = models.parent
    return shutil.disk_usage(models).free


def _staged(models: Path) -> list[Path]:
    folder = models / STAGING
    return [path for path in folder.iterdir() if path.suffix in _ENDINGS and path.is_file()] if folder.is_dir() else []


def _allocated(path: Path) -> int:
    """On the disk: the holes of a file on its way take no room."""
    with suppress(OSError):
        stat = path.stat()
        blocks = getattr(stat, "st_blocks", None)
        return stat.st_size if blocks is None else int(blocks) * _BLOCK_BYTES
    return 0
