"""`Format`: what a reader of one quantised format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from publican.executors.native.layout import Matrix
from publican.executors.native.tensors import MappedTensors

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Format:
    """Attributes:
    name: as people know it.
    owns: whether the tensors of `module` (``model.layers.0.mlp.up_proj``) are in this format.
    read: the weight of such a module, given the checkpoint's `quantization` settings and the (outputs, inputs) that the
        model needs, to which a format that pads cuts. Whoever calls checks that the result has that shape.
        Raises ModelFileError for tensors that contradict one another, UnsupportedModel for a variant that is not read.
    is_experimental: read by description only, never compared with a file that was used.
    """

    name: str
    owns: Callable[[MappedTensors, str], bool]
    read: Callable[[MappedTensors, str, Mapping[str, Any], Shape], Matrix]
    is_experimental: bool = False
