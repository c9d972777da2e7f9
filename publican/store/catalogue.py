"""Which models are in the models folder. A dropped ``.gguf`` file or folder is enough; there is no index to keep in step.

Reads names and sizes, no headers, so listing is quick. Blocks on the disk; called by `host` and `cli` on any thread.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from publican.core.errors import ModelNotFound
from publican.store.checkpoint import CONFIG, gguf_files, model_name
from publican.store.gguf_parts import split_name
from publican.store.quant_names import quant_of
from publican.store.source import expanded

MAX_DEPTH = 3
"""Folders below the models folder that are looked into: ``org/repo/quant``."""
_HUB = ("hf.co/", "huggingface.co/")
"""What Ollama's clients write before the name of a repository."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the catalogue.

    Attributes:
        name: unique in the catalogue: the path below the models folder, without the ending of a GGUF file.
        path: what `open_checkpoint` takes.
        num_bytes: on disk, all its files together.
        modified_s: the newest file's time, Unix seconds.
        link: the symbolic link through which it is found: the file or folder itself, or a folder above it; None without.
    """

    name: str
    path: Path
    format: Literal["gguf", "safetensors"]
    num_bytes: int
    modified_s: float
    link: Path | None = None


def list_models(folder: Path) -> tuple[StoredModel, ...]:
    """The models in `folder`, by name; none if there is no such folder."""
    return tuple(sorted(_walk(folder, folder, MAX_DEPTH), key=lambda model: model.name.lower()))


def find_model(name: str, folder: Path, allow_path: bool = False) -> StoredModel:
    """The model that `name` means: its whole name, the last part of it, its folder, ``folder:quant`` (what was
    pulled as ``org/repo:quant``), the unique beginning of one of these, or a path.

    Capitals and a ``.gguf`` ending do not matter. `allow_path` also takes a path to a model anywhere; leave it off for
    names that come over the network.

    Raises:
        ModelNotFound: none is meant, or several are; the error names those.
    """
    models = list_models(folder)
    if allow_path and (path := expanded(name)).exists():
        return next((model for model in models if model.path == path), None) or _stored(path, model_name(path), path.parent)
    wanted = _key(name)
    for matches in (
        [model for model in models if model.name == name],
        [model for model in models if wanted in _keys(model)],
        [model for model in models if wanted and any(key.startswith(wanted) for key in _keys(model))],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ModelNotFound(name, tuple(model.name for model in matches), several=True)
    raise ModelNotFound(name, tuple(model.name for model in models))


def model_files(path: Path) -> tuple[Path, ...]:
    """The files of the model at `path` that are there: the file, its parts, or everything in its folder."""
    if path.is_dir():
        return tuple(sorted(file for file in path.iterdir() if file.is_file()))
    split = split_name(path.name)
    if split is None:
        return (path,)
    part = re.compile(rf"{re.escape(split[0])}-\d{{5}}-of-{split[2]:05}\.gguf", re.IGNORECASE)
    return tuple(sorted(file for file in path.parent.iterdir() if part.fullmatch(file.name) and file.is_file()))


def link_to(path: Path, folder: Path) -> Path | None:
    """The first symbolic link on the way from `folder` to `path`, which lies below it; None if all is really there."""
    parts = path.relative_to(folder).parts
    steps = (folder.joinpath(*parts[: i + 1]) for i in range(len(parts)))
    return next((step for step in steps if step.is_symlink()), None)


def _walk(folder: Path, root: Path, depth: int) -> Iterator[StoredModel]:
    try:
        here = list(_models_in(folder, root))
        children = sorted(folder.iterdir(), key=lambda path: path.name) if depth > 0 else []
    except OSError:  # not a folder, not ours to read, or gone: then it holds no models
        return
    yield from here
    for child in children:
        if child.is_dir() and not child.name.startswith(".") and not _leads_back(child, folder):
            yield from _walk(child, root, depth - 1)


def _models_in(folder: Path, root: Path) -> Iterator[StoredModel]:
    """Those of `folder` itself."""
    ggufs = gguf_files(folder)
    if folder != root and (folder / CONFIG).is_file() and any(folder.glob("*.safetensors")):
        yield _stored(folder, folder.relative_to(root).as_posix(), root)
    for path in ggufs:
        yield _stored(path, (folder.relative_to(root) / model_name(path)).as_posix(), root)


def _leads_back(child: Path, folder: Path) -> bool:
    """Whether `child` is a link to a folder that `folder` is in."""
    return child.is_symlink() and folder.resolve().is_relative_to(child.resolve())


def _stored(path: Path, name: str, root: Path) -> StoredModel:
    stats = []
    for file in model_files(path):
        with contextlib.suppress(FileNotFoundError):  # whoever pulls into the folder moves files about
            stats.append(file.stat())
    newest = max((stat.st_mtime for stat in stats), default=0.0)
    kind: Literal["gguf", "safetensors"] = "safetensors" if path.is_dir() else "gguf"
    return StoredModel(name, path, kind, sum(stat.st_size for stat in stats), newest, link_to(path, root))


def _key(name: str) -> str:
    lowered = name.lower().removesuffix(".gguf")
    return next((lowered.removeprefix(host) for host in _HUB if lowered.startswith(host)), lowered)


def _keys(model: StoredModel) -> tuple[str, ...]:
    folder, _, last = model.name.rpartition("/")
    if model.format == "gguf":
        quant = quant_of(last)
        pulled = (folder, f"{folder}:{quant}" if folder and quant else "")
    else:
        pulled = (model.name.replace("@", ":") if "@" in last else "", "")
    return tuple(_key(name) for name in (model.name, last, *pulled) if name)
