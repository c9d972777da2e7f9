"""Makes a model that lies elsewhere on this machine known in the models folder, by a link: nothing is copied. Blocks."""

from __future__ import annotations

import os
from pathlib import Path

from publican.core.errors import ModelFileError
from publican.store.catalogue import model_files
from publican.store.checkpoint import model_name, open_checkpoint


def add_path(path: Path, models: Path) -> Path:
    """Check the model at `path` and link it into `models`; returns what to open.

    Raises:
        ModelFileError: it is not there, not a model, or cannot be linked. UnsupportedModel: it is no language model.
    """
    path = path.absolute()
    checkpoint = open_checkpoint(path)
    if path.is_relative_to(models.absolute()):
        return path
    if checkpoint.format == "safetensors":
        folder = checkpoint.path
        return _link(folder, models / folder.name, is_folder=True)
    links = [_link(file, models / file.name, is_folder=False) for file in model_files(checkpoint.path)]
    return links[0]


def _link(path: Path, target: Path, is_folder: bool) -> Path:
    if target.exists() or target.is_symlink():
        if target.is_symlink() and target.resolve() == path.resolve():
            return target
        raise ModelFileError(f"The models folder has another {target.name} already ({model_name(target)}); rename one of them.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.fspath(path), target_is_directory=is_folder)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be linked into {target.parent}: {error.strerror or error}.") from None
    return target
