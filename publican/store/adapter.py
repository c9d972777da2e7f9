"""Opens a LoRA adapter as PEFT saves it: a folder with `adapter_config.json` and `adapter_model.safetensors`.

Format: https://huggingface.co/docs/peft/developer_guides/checkpoint. Reads the config and the header, nothing of the numbers;
whoever made them is not trusted. What would not be applied as it was trained is refused by name. Whether it fits a model is
the executors' to say. Blocks; called by `host` on any thread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.model import AdaptedModule, Adapter, TensorInfo
from publican.store.bounded_json import read_object
from publican.store.safetensors import read_safetensors
from publican.store.source import FileSource

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_RANK = 4_096
_FLOATS = ("F32", "F16", "BF16")
_TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>[\w.]+)\.lora_(?P<side>[AB])(?:\.\w+)?\.weight")
_PATTERN = re.compile(r"(?P<start>\^?)(?P<name>(?:\w|\\?\.)+)\$?")
_UNREAD = {
    "use_dora": "DoRA",
    "modules_to_save": "whole modules beside the low-rank ones (modules_to_save)",
    "lora_bias": "biases (lora_bias)",
    "trainable_token_indices": "token embeddings (trainable_token_indices)",
    "layer_replication": "repeated layers (layer_replication)",
    "target_parameters": "bare parameters, such as experts (target_parameters)",
    "alora_invocation_tokens": "an activation by tokens (aLoRA)",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "arrow_config": "a router of adapters (Arrow)",
}
"""Settings that change what an adapter computes, if they are set, and what they stand for."""
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin training that changed the base model too (`init_lora_weights`)."""


def open_adapter(path: Path, name: str) -> Adapter:
    """The adapter in the folder `path`.

    Raises:
        ModelFileError: there is none, or it is damaged.
        UnsupportedModel: it has what is not applied here; the text says what.
    """
    if path.suffix == ".gguf":
        raise UnsupportedModel(f"{path.name} is a GGUF; adapters are read as PEFT saves them: a folder with {CONFIG}.")
    if not (path / CONFIG).is_file():
        raise ModelFileError(f"There is no adapter in {path}: a folder with {CONFIG} and {WEIGHTS} belongs there.")
    if not (path / WEIGHTS).is_file():
        pickled = (path / "adapter_model.bin").is_file()
        why = "a pickle, which can run code when it is opened" if pickled else "none of its weights"
        raise ModelFileError(f"The adapter {name} has {why}; get it with {WEIGHTS}.")
    config = read_object(path / CONFIG)
    _refuse_unread(config, name)
    with FileSource(path / WEIGHTS) as source:
        tensors, _ = read_safetensors(source, path / WEIGHTS)
    base = config.get("base_model_name_or_path")
    return Adapter(name, path, base if isinstance(base, str) else "", _modules(tensors, _Scales(config, name), name))


def _refuse_unread(config: Mapping[str, Any], name: str) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UnsupportedModel(
            f"The adapter {name} is of the kind {kind!r:.40}, and only LORA is applied here; merge it instead."
        )
    unread = [what for key, what in _UNREAD.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        unread.append("biases (bias)")
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_CHANGES_BASE):
        unread.append(f"changes to the base model ({begun:.40})")
    if unread:
        raise UnsupportedModel(f"The adapter {name} has {', '.join(unread)}, which is not applied here; merge it instead.")


def _modules(tensors: Mapping[str, TensorInfo], scales: _Scales, name: str) -> tuple[AdaptedModule, ...]:
    pairs: dict[str, dict[str, TensorInfo]] = {}
    for tensor in tensors.values():
        match = _TENSOR.fullmatch(tensor.name)
        if match is None:
            raise UnsupportedModel(f"The adapter {name} has {tensor.name:.100}, which is not applied here; merge it instead.")
        if pairs.setdefault(match["module"], {}).setdefault(match["side"], tensor) is not tensor:
            raise ModelFileError(f"The adapter {name} has two tensors lora_{match['side']} for {match['module']:.100}.")
    if not pairs:
        raise ModelFileError(f"The adapter {name} holds no tensors; download it again.")
    return tuple(_module(module, pair, scales, name) for module, pair in pairs.items())


def _module(module: str, pair: Mapping[str, TensorInfo], scales: _Scales, name: str) -> AdaptedModule:
    down, up = pair.get("A"), pair.get("B")
    if down is None or up is None:
        raise ModelFileError(f"The adapter {name} has only half of {module:.100}; download it again.")
    if len(down.shape) != 2 or len(up.shape) != 2 or down.shape[0] != up.shape[1] or not 1 <= down.shape[0] <= MAX_RANK:
        raise ModelFileError(
            f"{module:.100} of the adapter {name} is of the shapes {down.shape} and {up.shape}, whose ranks do not agree or "
            f"are not from 1 to {MAX_RANK:,}; download it again."
        )
    for tensor in (down, up):
        if tensor.dtype not in _FLOATS:
            raise UnsupportedModel(f"{tensor.name:.100} of the adapter {name} is of type {tensor.dtype}; save it as BF16.")
    return AdaptedModule(module, down, up, scales.of(module, down.shape[0]))


class _Scales:
    """What low-rank products are multiplied by: alpha / rank, or alpha / √rank (rsLoRA, Kalajdzievski 2023)."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self._name = name
        self._alpha = self._number(config.get("lora_alpha", 8))
        self._by_root = bool(config.get("use_rslora"))
        pattern = config.get("alpha_pattern") or {}
        if not isinstance(pattern, dict):
            raise ModelFileError(f"alpha_pattern of the adapter {name} is not an object; download it again.")
        self._patterns = [(*self._place(key), self._number(alpha)) for key, alpha in pattern.items()]

    def of(self, module: str, rank: int) -> float:
        alpha = next((alpha for text, whole, alpha in self._patterns if _fits(module, text, whole)), self._alpha)
        return alpha / (math.sqrt(rank) if self._by_root else rank)

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
            raise ModelFileError(f"The adapter {self._name} has the alpha {value!r:.40}, which is no usable number.")
        return float(value)

    def _place(self, key: str) -> tuple[str, bool]:
        """A module's name or the end of one, and whether it is the whole. PEFT takes any regular expression here, which from
        a stranger's file may never end; names are what people write."""
        match = _PATTERN.fullmatch(key)
        if match is None:
            raise UnsupportedModel(f"alpha_pattern of the adapter {self._name} has {key!r:.80}; only names are read there.")
        return match["name"].replace("\\.", "."), bool(match["start"])


def _fits(module: str, text: str, whole: bool) -> bool:
    return module == text or (not whole and module.endswith(f".{text}"))
