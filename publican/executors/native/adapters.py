"""`Adapters`: what several LoRA adapters add to a model, by what its matrices are for.

Knows Hugging Face's names of modules, which adapters have whatever file the model itself comes from, and which shapes fit.
Used while a model is loaded, on one thread; whether adapters fit is told from headers alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from publican.core.errors import UnsupportedModel
from publican.core.model import AdaptedModule, Adapter, ModelSpec, TensorInfo
from publican.executors.native.families.family import HF_NAMES, Family, Role
from publican.executors.native.layout import DenseMatrix
from publican.executors.native.program import LowRank
from publican.executors.native.tensors import MappedTensors
from publican.executors.native.weights import Weights

_ROOTS = ("model.", "", "language_model.model.", "model.language_model.")
"""Where the layers of a language model are; the latter are models that see."""
_PARTS: Mapping[Role, tuple[Role, ...]] = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}
_LAYER = re.compile(r"(?P<root>.*?)(?P<layer>layers\.(?P<number>\d{1,5}))\.(?P<rest>.+)")

Place = tuple[Role, int]


class Adapters:
    """The adapters of one model, numbered as they come.

    Raises:
        UnsupportedModel: one of them is for another model, or for a part of it that no adapter can change here.
    """

    def __init__(self, adapters: Sequence[Adapter], spec: ModelSpec, family: Family, weights: Weights) -> None:
        self._num_adapters = len(adapters)
        self._modules: dict[Place, list[tuple[int, AdaptedModule]]] = {}
        shapes = _shapes(spec)
        roles = _roles(family)
        for number, adapter in enumerate(adapters):
            for module in adapter.modules:
                place = _place(module.name, roles)
                if place is None or not _has(weights, place, spec):
                    raise UnsupportedModel(
                        f"The adapter {adapter.name} changes {module.name:.100}, which this model has not or which cannot be "
                        f"changed here{_made_for(adapter)}; take one made for this model, or a merged copy."
                    )
                outputs, inputs = shapes[place[0]]
                if module.up.shape[0] != outputs or module.down.shape[1] != inputs:
                    raise UnsupportedModel(
                        f"The adapter {adapter.name} does not fit: {module.name:.100} takes {module.down.shape[1]} numbers to "
                        f"{module.up.shape[0]} in it, and {inputs} to {outputs} in this model{_made_for(adapter)}."
                    )
                self._modules.setdefault(place, []).append((number, module))

    def __len__(self) -> int:
        return self._num_adapters

    def of(self, role: Role, layer: int) -> tuple[LowRank, ...]:
        """What the adapters add to a matrix. Raises ModelFileError: a file has changed, or is truncated."""
        return tuple(
            LowRank(number, _matrix(module.down), _matrix(module.up), module.scale)
            for number, module in self._modules.get((role, layer), ())
        )


def _made_for(adapter: Adapter) -> str:
    return f" (it was made for {adapter.base:.100})" if adapter.base else ""


def _roles(family: Family) -> Mapping[str, Role]:
    """A module's name within a layer, and what it is for."""
    names = {**HF_NAMES, **family.hf_names}
    return {names[role].removeprefix("layers.{}."): role for role in get_args(Role) if role in names and role in _SHAPED}


def _place(name: str, roles: Mapping[str, Role]) -> Place | None:
    match = _LAYER.fullmatch(name)
    if match is None or match["root"] not in _ROOTS or match["rest"] not in roles:
        return None
    return roles[match["rest"]], int(match["number"])


def _has(weights: Weights, place: Place, spec: ModelSpec) -> bool:
    """Whether the model has that matrix, alone or with others in one."""
    role, layer = place
    whole = next((whole for whole, parts in _PARTS.items() if role in parts), role)
    return layer < spec.num_layers and any(weights.has(each, layer) for each in (role, whole, *_PARTS.get(role, ())))


_SHAPED: tuple[Role, ...] = ("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down")


def _shapes(spec: ModelSpec) -> Mapping[Role, tuple[int, int]]:
    """Outputs and inputs."""
    q, kv, hidden, ffn = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim, spec.hidden_size, spec.ffn_size
    return {
        "q": (q, hidden),
        "k": (kv, hidden),
        "v": (kv, hidden),
        "qkv": (q + 2 * kv, hidden),
        "o": (hidden, q),
        "gate": (ffn, hidden),
        "up": (ffn, hidden),
        "gate_up": (2 * ffn, hidden),
        "down": (hidden, ffn),
    }


def _matrix(tensor: TensorInfo) -> DenseMatrix:
    values = MappedTensors({tensor.name: tensor}).array(tensor.name, "F32", "F16", "BF16")
    return DenseMatrix(np.array(values))  # adapters are small, and their files may be replaced while the model runs
