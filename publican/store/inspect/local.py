"""Inspects models on this disk. Blocks for as long as headers take to read; any thread."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from publican.core.errors import ModelFileError
from publican.core.model import Checkpoint, TensorInfo
from publican.store.bounded_json import read_object
from publican.store.catalogue import model_files
from publican.store.checkpoint import CONFIG, model_name, only_gguf, quantization_of
from publican.store.gguf import read_gguf
from publican.store.inspect.inspection import FolderParts, Inspection, ListedFile, inspect_folder, inspect_gguf
from publican.store.manifest import MANIFEST, read_manifest
from publican.store.recognise.hf import SAMPLE_BYTES, samples
from publican.store.safetensors import read_safetensors
from publican.store.shards import read_folder
from publican.store.source import FileSource

_ADAPTER = "adapter_model.safetensors"


def inspect_path(path: Path, name: str | None = None) -> Inspection:
    """What lies at `path`: a GGUF file, a safetensors file, or a folder. What is no language model is inspected too.

    Raises:
        ModelFileError: nothing there is a model, or a file is damaged or missing; what it is instead is said.
    """
    name = name or model_name(path)
    if path.is_dir():
        is_folder = (path / CONFIG).is_file() or any(path.glob("*.safetensors"))
        found = _folder(path, name) if is_folder else inspect_gguf(name, read_gguf(only_gguf(path)))
    elif path.suffix == ".safetensors":
        found = _folder(path.parent, name, path)
    else:
        found = inspect_gguf(name, read_gguf(path))
    folder = path if path.is_dir() else path.parent
    manifest = read_manifest(folder)
    files = [file for file in model_files(path) if file.name != MANIFEST]
    listed = []
    for file in files:
        known = manifest.files.get(file.name) if manifest else None
        listed.append(ListedFile(file.name, file.stat().st_size, known.digest if known else None))
    entry = next((manifest.files[file.name] for file in files if file.name in manifest.files), None) if manifest else None
    return dataclasses.replace(
        found,
        licence=(manifest.licence if manifest else "") or found.licence,
        base_models=(manifest.base_models if manifest else ()) or found.base_models,
        files=tuple(listed),
        revision=entry.revision if entry else "",
        commit=entry.commit if entry else "",
    )


def _folder(folder: Path, name: str, only: Path | None = None) -> Inspection:
    config = read_object(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if only is not None and not config:
        tensors = _one(only)
    elif not config and (folder / _ADAPTER).is_file():
        tensors = _one(folder / _ADAPTER)
    else:
        tensors = read_folder(folder)
    parts = FolderParts(
        config=config,
        quantization=quantization_of(folder, config),
        tokenizer_config=_optional(folder / "tokenizer_config.json"),
        sampled={tensor: _sample(info) for tensor, info in samples(tensors).items()},
        files=tuple(path.name for path in folder.iterdir()),
        template=_template(folder / "chat_template.jinja"),
    )
    return inspect_folder(Checkpoint(name, folder, "safetensors", None, tensors), parts)


def _one(path: Path) -> dict[str, TensorInfo]:
    with FileSource(path) as source:
        return read_safetensors(source, path)[0]


def _sample(info: TensorInfo) -> bytes:
    with FileSource(info.file) as source:
        return source.read(info.offset, min(SAMPLE_BYTES, info.num_bytes))


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _template(path: Path) -> str:
    with contextlib.suppress(ModelFileError):
        if path.is_file():
            with FileSource(path) as source:
                return source.read(0, 1 << 20).decode("utf-8", "replace")
    return ""
