"""The tensors of a folder of safetensors files: one file, or shards with an index beside them.

Blocks; called by `store.checkpoint`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from publican.core.errors import ModelFileError
from publican.core.model import TensorInfo
from publican.store.bounded_json import read_object
from publican.store.safetensors import read_safetensors
from publican.store.source import FileSource

INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
_OTHER = ("adapter_model.safetensors", "consolidated", "original")
"""Files beside the model's own: a LoRA adapter, Meta's and Mistral's second copies."""


def read_folder(folder: Path) -> dict[str, TensorInfo]:
    """All tensors of the model in `folder`, by name.

    Raises:
        ModelFileError: there are none, shards are missing, or a file is damaged.
    """
    weight_map = _read_index(folder)
    files = sorted(set(weight_map.values())) if weight_map else _files_without_index(folder)
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ModelFileError(f"Of the {len(files)} files of {folder.name} these are missing: {_some(missing)}; download them.")
    tensors: dict[str, TensorInfo] = {}
    for name in files:
        with FileSource(folder / name) as source:
            found, _ = read_safetensors(source, folder / name)
        twice = tensors.keys() & found.keys()
        if twice:
            raise ModelFileError(f"The tensor {min(twice)!r:.80} of {folder.name} is in two files; remove the wrong one.")
        tensors |= found
    _check_complete(weight_map, tensors, folder)
    return tensors


def _read_index(folder: Path) -> dict[str, str]:
    """Tensor name to file name; empty if there is no index, or only one left behind by an earlier form of the model."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    weight_map = read_object(path, max_bytes=64 << 20).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ModelFileError(f"{path.name} of {folder.name} has no table of files; download it again.")
    for name in sorted(set(weight_map.values())):
        if name != Path(name).name or not name.endswith(".safetensors") or "\\" in name or "\0" in name:
            raise ModelFileError(f"{path.name} of {folder.name} names the file {name!r:.80}, which is no file of its folder.")
    # Quantised copies often carry the index of the original, whose files are not there.
    if not any((folder / name).is_file() for name in set(weight_map.values())) and _own_files(folder):
        return {}
    return weight_map


def _own_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors") if not path.name.startswith(_OTHER))


def _files_without_index(folder: Path) -> list[str]:
    """The one model in the folder; all its shards, whether they are there or not."""
    names = _own_files(folder)
    sets: dict[tuple[str, int], list[str]] = {}
    for name in names:
        match = _SHARD.fullmatch(name)
        if match is not None and int(match["count"]) <= 10_000:
            sets.setdefault((match["stem"], int(match["count"])), []).append(name)
    whole = [name for name in names if not _SHARD.fullmatch(name)]
    if "model.safetensors" in whole:
        return ["model.safetensors"]
    if len(whole) + len(sets) != 1:
        if not names:
            raise ModelFileError(f"The folder {folder.name} holds no *.safetensors file.")
        raise ModelFileError(f"The folder {folder.name} holds several models ({_some(names)}); keep one of them in it.")
    if whole:
        return whole
    ((stem, count),) = sets
    return [f"{stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _check_complete(weight_map: Mapping[str, str], tensors: Mapping[str, TensorInfo], folder: Path) -> None:
    for name, file in weight_map.items():
        if name not in tensors or tensors[name].file.name != file:
            raise ModelFileError(f"{file} of {folder.name} does not hold the tensor {name!r:.80} that the index promises.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
