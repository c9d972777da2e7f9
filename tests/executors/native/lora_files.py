"""Writes random LoRA adapters as PEFT saves them, and merges them into transformers models by its formula."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from publican.core.model import Adapter
from publican.store.adapter import open_adapter
from tests.store import safetensors_bytes

CONFIG = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 6,
    "bias": "none",
    "use_rslora": False,
    "base_model_name_or_path": "org/tiny",
}


def targets(model: Any) -> list[str]:
    """All linear layers of all layers."""
    import torch

    return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n]


def tensors(model: Any, modules: list[str], rank: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """What a file has, large enough that every module's share shows in the logits."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in modules:
        outputs, inputs = model.get_submodule(name).weight.shape
        stem = f"base_model.model.{name}"
        found[f"{stem}.lora_A.weight"] = rng.standard_normal((rank, inputs), np.float32) * np.float32(inputs**-0.5)
        found[f"{stem}.lora_B.weight"] = rng.standard_normal((outputs, rank), np.float32) * np.float32(rank**-0.5)
    return found


def write(folder: Path, arrays: Mapping[str, np.ndarray], dtype: str = "F32", **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    entries = {name: (dtype, list(array.shape), as_bytes(array, dtype)) for name, array in arrays.items()}
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes.build(entries))
    return folder


def as_bytes(array: np.ndarray, dtype: str) -> bytes:
    if dtype == "BF16":
        return (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return array.astype({"F32": np.float32, "F16": np.float16}[dtype]).tobytes()


def adapter(folder: Path, model: Any, rank: int = 4, seed: int = 0, only: str = "", **config: Any) -> Adapter:
    """A random adapter of the modules whose names `only` is found in."""
    modules = [name for name in targets(model) if re.search(only, name)]
    return open_adapter(write(folder, tensors(model, modules, rank, seed), r=rank, **config), folder.name)


def merged(model: Any, path: Path) -> Any:
    """A copy of `model` with the adapter at `path` added to its weights."""
    import torch
    from safetensors.torch import load_file

    config = json.loads((path / "adapter_config.json").read_text())
    found = load_file(path / "adapter_model.safetensors")
    model = copy.deepcopy(model)
    for name in sorted({key.rpartition(".lora_")[0] for key in found}):
        module = name.removeprefix("base_model.model.")
        patterns = config.get("alpha_pattern", {})
        key = next((each for each in patterns if re.match(rf"(.*\.)?({each})$", module)), None)
        alpha = config["lora_alpha"] if key is None else patterns[key]
        rank = len(found[f"{name}.lora_A.weight"])
        scale = alpha / math.sqrt(rank) if config["use_rslora"] else alpha / rank
        down, up = (found[f"{name}.lora_{side}.weight"].to(torch.float32) for side in "AB")
        model.get_submodule(module).weight.data += scale * up @ down
    return model
