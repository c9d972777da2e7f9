"""`Weights`: a checkpoint's modules by what they are for, in whatever format and under whatever name the file has them.

Knows names, formats and shapes; not what is done with the numbers. Used while a model is loaded, on one thread; keeps
nothing that it has read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.model import Checkpoint, TensorInfo
from publican.executors.native.experts_apart import experts_apart
from publican.executors.native.families.family import GGUF_NAMES, HF_NAMES, Family, Names, Role
from publican.executors.native.formats import GGUF_FORMATS, HF_FORMATS
from publican.executors.native.formats.format import Format, Shape
from publican.executors.native.layout import Matrix
from publican.executors.native.tensors import MappedTensors

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called while loading with the number of tensors done, and of all."""

_UNBIASED: tuple[Role, ...] = (
    "gate",
    "up",
    "gate_up",
    "router",
    "expert_gate",
    "expert_up",
    "expert_down",
    "shared_router",
    "shared_gate",
    "shared_up",
    "shared_down",
)
_NUMBER = re.compile(r"\.\d+(?=\.|$)")


class _Container(NamedTuple):
    """What sets GGUF and Hugging Face files apart."""

    names: Names
    formats: tuple[Format, ...]
    root: str


class Weights:
    """Reads one checkpoint.

    Args:
        progress: told after each module.
    """

    def __init__(self, checkpoint: Checkpoint, family: Family, progress: Progress | None = None) -> None:
        tensors = experts_apart(checkpoint.tensors)
        self.tensors = MappedTensors(tensors)
        self.is_gguf = checkpoint.format == "gguf"
        self._settings = checkpoint.quantization
        self._container = _container(checkpoint.format == "gguf", tensors, family)
        self._progress = progress or (lambda done, total: None)
        self._of_module: dict[str, set[str]] = {}
        for name in tensors:
            self._of_module.setdefault(name.rpartition(".")[0], set()).add(name)
        self._done: set[str] = set()
        self._warned: set[str] = set()

    def has(self, role: Role, layer: int = 0) -> bool:
        return role in self._container.names and self.module(role, layer) in self._of_module

    def module(self, role: Role, layer: int = 0, expert: int = 0) -> str:
        """The file's own name for a module."""
        name = self._container.names[role].format(layer, expert)
        if role != "output":
            return self._container.root + name
        nested = self._container.root.removesuffix("model.") + name  # beside the root, not below it
        return nested if nested in self._of_module else name

    def matrix(self, role: Role, shape: Shape, layer: int = 0, expert: int = 0) -> Matrix:
        """The weight [outputs, inputs] of a module.

        Raises:
            ModelFileError: it is missing, damaged or of another shape. UnsupportedModel: it is in a form that is not read.
        """
        module = self.module(role, layer, expert)
        for form in self._container.formats:
            if form.owns(self.tensors, module):
                matrix = form.read(self.tensors, module, self._settings, shape)
                self._warn(form)
                break
        else:
            raise ModelFileError(f"The model's files are incomplete: there is no weight {module}; download the model again.")
        if matrix.shape != shape:
            raise ModelFileError(
                f"{module} is {matrix.shape[0]} × {matrix.shape[1]}, where the model's description wants "
                f"{shape[0]} × {shape[1]}; download the model again."
            )
        self._note(module)
        return matrix

    def vector(self, role: Role, length: int, layer: int = 0) -> Floats:
        """The weight of a norm."""
        return self._floats(self.module(role, layer), "weight", length)

    def row(self, role: Role, num_inputs: int, layer: int = 0) -> Floats:
        """A matrix of one output, which some files keep as a vector."""
        values = self.tensors.floats(f"{self.module(role, layer)}.weight")
        if values.shape not in ((num_inputs,), (1, num_inputs)):
            raise self._misshapen(f"{self.module(role, layer)}.weight", values.shape, num_inputs)
        self._note(self.module(role, layer))
        return values.reshape(-1)

    def bias(self, role: Role, length: int, layer: int = 0) -> Floats | None:
        """The bias of a module, where it has one."""
        module = self.module(role, layer)
        return self._floats(module, "bias", length) if f"{module}.bias" in self.tensors else None

    def loose(self, name: str) -> Floats | None:
        """A tensor that belongs to no module, flat."""
        if name not in self.tensors:
            return None
        self._done.add(name)
        return self.tensors.floats(name).reshape(-1)

    def check_layers(self) -> None:
        """Refuse a model whose layers have something that its family does not know: leaving it out would make nonsense.

        Raises:
            UnsupportedModel
        """
        names, root = self._container.names, self._container.root
        known = {root + name for name in names.values() if "{}" in name}
        unbiased = {root + names[role] for role in _UNBIASED if role in names}
        start = (root + names["attn_norm"]).partition("{}")[0]
        for name in self.tensors.infos:
            module, _, kind = name.rpartition(".")
            layer, _, rest = module.removeprefix(start).partition(".")
            if not name.startswith(start) or not layer.isdigit() or rest.endswith("rotary_emb"):
                continue
            place = f"{start}{{}}.{_NUMBER.sub('.{}', rest)}"
            # Quantisers of 2023 wrote a bias of zeros for every matrix.
            is_bias = kind == "bias" and place in unbiased and bool(self.tensors.floats(name).any())
            if place not in known or is_bias:
                raise UnsupportedModel(
                    f"The model has {name}, which its architecture as it is known here has no place for; "
                    "update publican, or load a GGUF of it with the llama loader."
                )

    def _floats(self, module: str, kind: str, length: int) -> Floats:
        values = self.tensors.floats(f"{module}.{kind}")
        if values.shape != (length,):
            raise self._misshapen(f"{module}.{kind}", values.shape, length)
        self._note(module)
        return values

    @staticmethod
    def _misshapen(name: str, shape: tuple[int, ...], length: int) -> ModelFileError:
        return ModelFileError(
            f"{name} is of shape {shape}, where the model's description wants {length} numbers; download the model again."
        )

    def _warn(self, form: Format) -> None:
        if form.is_experimental and form.name not in self._warned:
            self._warned.add(form.name)
            text = "%s is experimental here: compare its answers with another file of the same model."
            logging.getLogger(__name__).warning(text, form.name)

    def _note(self, module: str) -> None:
        self._done |= self._of_module.get(module, set())
        self._progress(len(self._done), len(self.tensors.infos))


def _container(is_gguf: bool, tensors: Mapping[str, TensorInfo], family: Family) -> _Container:
    if is_gguf:
        return _Container({**GGUF_NAMES, **family.gguf_names}, GGUF_FORMATS, "")
    end = f"{HF_NAMES['embedding']}.weight"
    root = next((name.removesuffix(end) for name in tensors if name.endswith(end)), "model.")
    names = family.hf_names
    if family.hf_other_names:
        router = root + family.hf_other_names["router"].format(0) + ".weight"
        names = family.hf_other_names if router in tensors else names
    return _Container({**HF_NAMES, **names}, HF_FORMATS, root)
