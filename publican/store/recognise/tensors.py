"""Questions about the tensors of a model that every recogniser asks. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from publican.core.model import TensorInfo

Tensors = Mapping[str, TensorInfo]
Settings = Mapping[str, Any]
"""The quantiser's own, by whatever names it gave them."""
Samples = Mapping[str, bytes]
Packed = Callable[[str, TensorInfo, Tensors, Settings], int | None]
"""How many weights a tensor holds; None if it is not one of the packed ones."""


def has(*endings: str) -> Callable[[Tensors], bool]:
    """Whether one module has tensors of all these endings."""

    def seen(tensors: Tensors) -> bool:
        first_ending, *others = endings
        modules = (name.removesuffix(first_ending) for name in tensors if name.endswith(first_ending))
        return any(all(f"{module}{other}" in tensors for other in others) for module in modules)

    return seen


def ends(ending: str) -> Callable[[Tensors], bool]:
    """Whether any tensor has this ending."""
    return lambda tensors: any(name.endswith(ending) for name in tensors)


def first(tensors: Tensors, ending: str) -> tuple[str, TensorInfo] | None:
    """The module and the tensor of the first name with this ending."""
    name = min((name for name in tensors if name.endswith(ending)), default=None)
    return None if name is None else (name.removesuffix(ending), tensors[name])


def times(ending: str, factor: int) -> Packed:
    """Tensors of this ending hold `factor` weights in each of their elements."""

    def packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
        return math.prod(info.shape) * factor if name.endswith(ending) else None

    return packed


def not_packed(name: str, info: TensorInfo, tensors: Tensors, settings: Settings) -> int | None:
    return None


def no_facts(tensors: Tensors, settings: Settings, sampled: Samples) -> dict[str, str]:
    return {}
