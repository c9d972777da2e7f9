"""Removes models from the models folder, and gives them second names there. Blocks on the disk; any thread."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from publican.core.errors import InvalidParameter, ModelFileError, Unsupported
from publican.store.catalogue import MAX_DEPTH, StoredModel, link_to, list_models, model_files
from publican.store.checkpoint import gguf_files
from publican.store.gguf_parts import split_name
from publican.store.manifest import MANIFEST, read_manifest, write_manifest

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_LONGEST_NAME = 200


def remove_model(model: StoredModel, folder: Path, with_others: bool = False) -> None:
    """Delete the files of `model`, and the folders below `folder` that this leaves empty.

    Of a model that is found through a link only the link goes; what it leads to stays as it is. Where other models are found
    through the same link, they are not seen any more either, so that needs `with_others`.

    Raises:
        Unsupported: it does not lie in `folder`, or its link is that of others too.
        ModelFileError: the disk refuses.
    """
    if not model.path.is_relative_to(folder) or ".." in model.path.relative_to(folder).parts:
        raise Unsupported(f"{model.name} does not lie in the models folder; delete its files by hand.")
    link = link_to(model.path, folder)
    others = behind_link(model, folder)
    if others and not with_others:
        names = ", ".join(other.name for other in others[:4])
        raise Unsupported(f"{model.name} is found through a link, as {names} too; remove {link} by hand to be rid of all.")
    try:
        if link is not None and (link != model.path or link.is_dir()):
            link.unlink()
        elif model.path.is_dir():
            _remove_folder(model.path)
        else:
            _remove_files(model.path)
    except OSError as error:
        raise ModelFileError(f"{model.name} cannot be deleted: {error.strerror or error}.") from None
    parent = (link or model.path).parent
    with contextlib.suppress(OSError):  # not empty
        while parent != folder:
            parent.rmdir()
            parent = parent.parent


def behind_link(model: StoredModel, folder: Path) -> tuple[StoredModel, ...]:
    """The other models that are found through the linked folder through which `model` is; none without such a link."""
    link = link_to(model.path, folder)
    if link is None or not link.is_dir():
        return ()
    return tuple(other for other in list_models(folder) if other.link == link and other.path != model.path)


def _remove_files(path: Path) -> None:
    """A GGUF model: its file or parts, of which one that is a link goes alone."""
    files = model_files(path)
    for file in files:
        file.unlink()
    _forget(path.parent, {file.name for file in files})


def _remove_folder(folder: Path) -> None:
    """A folder model; GGUF models and folders with models in it are others, and stay."""
    others = gguf_files(folder)
    if not others and not any(_holds_models(child) for child in folder.iterdir() if child.is_dir()):
        shutil.rmtree(folder)
        return
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix.lower() != ".gguf" and file.name != MANIFEST]
    for file in files:
        file.unlink()
    _forget(folder, {file.name for file in files})


def _holds_models(folder: Path) -> bool:
    return any(path.suffix.lower() in (".gguf", ".safetensors") for path in folder.rglob("*"))


def _forget(folder: Path, names: set[str]) -> None:
    manifest = read_manifest(folder)
    if manifest is not None:
        write_manifest(folder, manifest.without(names))


def link_model(model: StoredModel, folder: Path, new_name: str) -> None:
    """Let `model` be found in `folder` as `new_name` too. Nothing is copied.

    Raises:
        InvalidParameter: that is no name, or it is taken.
        Unsupported: the model is in several files, whose names belong together.
        ModelFileError: the disk refuses.
    """
    parts = new_name.split("/")
    if len(new_name) > _LONGEST_NAME or len(parts) > MAX_DEPTH or not all(_NAME.fullmatch(part) for part in parts):
        raise InvalidParameter("destination", "must be a name of letters, digits, and . _ + - in between; / makes folders.")
    if model.format == "gguf" and split_name(model.path.name) is not None:
        raise Unsupported(f"{model.name} is in several files, which cannot have a second name; rename them by hand.")
    target = folder.joinpath(*parts)
    if model.format == "gguf":
        target = target.with_name(target.name + ".gguf")
    if target.exists() or target.is_symlink():
        raise InvalidParameter("destination", f"{new_name!r:.60} is here already; choose another name.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(
            os.path.relpath(model.path.resolve(), target.parent.resolve()), target_is_directory=model.path.is_dir()
        )
    except OSError as error:
        raise ModelFileError(f"{model.name} cannot be called {new_name}: {error.strerror}.") from None
