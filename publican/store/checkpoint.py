"""Opens a model on disk as a `core.model.Checkpoint`: a GGUF file, or a Hugging Face folder.

Reads headers and configs only. Blocks, for as long as a header takes to parse (0.03 s for the default model, 0.3 s for the
largest vocabularies); called by `host` and `cli` on any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.model import Checkpoint, TensorInfo
from publican.store.bounded_json import read_object
from publican.store.gguf import read_gguf
from publican.store.gguf_parts import split_name
from publican.store.quant_names import is_projector
from publican.store.shards import read_folder
from publican.store.spec_gguf import spec_from_gguf
from publican.store.spec_hf import spec_from_hf

CONFIG = "config.json"
QUANTIZE_CONFIGS = ("quantize_config.json", "quant_config.json")
_NOT_MODELS = {
    "mmproj": "the projector of a model that sees; open the model itself",
    "adapter": "a LoRA adapter; open the model that it changes",
    "imatrix": "an importance matrix; open the model that it was made for",
}


def open_checkpoint(path: Path) -> Checkpoint:
    """The model at `path`: a ``.gguf`` file (any part of a split one), a folder, or a safetensors file in its folder.

    Raises:
        ModelFileError: nothing there is a model, or a file is damaged or missing.
        UnsupportedModel: sound, but not a language model.
    """
    if path.is_dir():
        if (path / CONFIG).is_file() and any(path.glob("*.safetensors")):
            return _open_folder(path)
        return _open_gguf(only_gguf(path))
    if path.suffix == ".safetensors" and path.is_file():
        return _open_folder(path.parent)
    return _open_gguf(path)


def model_name(path: Path) -> str:
    """What the model at `path` is called: the folder's name, or the file's without its ending and part number."""
    split = split_name(path.name)
    if split is not None:
        return split[0]
    return path.stem if path.suffix.lower() == ".gguf" else path.name


def gguf_files(folder: Path) -> list[Path]:
    """The GGUF models in `folder`, without projectors; a split model is its first part that is there."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.suffix.lower() == ".gguf" and not path.name.startswith(".") and not is_projector(path.name) and path.is_file():
            files.setdefault(model_name(path), path)
    return list(files.values())


def _open_gguf(path: Path) -> Checkpoint:
    header = read_gguf(path)
    kind = header.metadata.get("general.type")
    if header.metadata.get("general.architecture") == "clip":
        kind = "mmproj"
    if isinstance(kind, str) and kind in _NOT_MODELS:
        raise UnsupportedModel(f"{path.name} is {_NOT_MODELS[kind]}.")
    if not header.tensors:
        raise UnsupportedModel(f"{path.name} holds a vocabulary and no model.")
    tensors = _by_name(header.tensors)
    spec = spec_from_gguf(header.metadata, tensors)
    return Checkpoint(model_name(path), header.paths[0], "gguf", spec, tensors, header.metadata)


def _open_folder(folder: Path) -> Checkpoint:
    config = read_object(folder / CONFIG)
    tensors = read_folder(folder)
    spec = spec_from_hf(config, tensors)
    return Checkpoint(model_name(folder), folder, "safetensors", spec, tensors, config, quantization_of(folder, config))


def only_gguf(folder: Path) -> Path:
    """The one GGUF model in `folder`. Raises ModelFileError if it has none, or several; says what it has instead."""
    files = gguf_files(folder)
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(path.name for path in files[:4])
        raise ModelFileError(f"The folder {folder.name} holds {len(files)} GGUF models ({names}); name one of them.")
    if any(folder.glob("*.safetensors")):
        raise ModelFileError(f"The folder {folder.name} has no {CONFIG}; download it to the model's other files.")
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")) or any(folder.glob("*.pt")):
        raise ModelFileError(
            f"The folder {folder.name} holds PyTorch pickles, which can run code; get the model as safetensors."
        )
    raise ModelFileError(f"The folder {folder.name} holds no model: neither a *.gguf file nor {CONFIG} with *.safetensors.")


def quantization_of(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The quantiser's own settings: in the config since 2023, in a file beside it before."""
    inside = quantization_in(config, folder.name)
    if inside is not None:
        return inside
    for name in QUANTIZE_CONFIGS:
        if (folder / name).is_file():
            return read_object(folder / name)
    return {}


def quantization_in(config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The quantiser's settings in the config of the model `name`; None for none."""
    inside = config.get("quantization_config")
    if inside is not None and not isinstance(inside, dict):
        raise ModelFileError(f"quantization_config in {CONFIG} of {name} is not an object; download it again.")
    return inside


def _by_name(tensors: Iterable[TensorInfo]) -> dict[str, TensorInfo]:
    return {tensor.name: tensor for tensor in tensors}
