"""`BlockType`: how one of GGUF's types lies in bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Blocks = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]
"""Codes [N, B, inputs per block] in the order of the inputs; scales and offsets [N, B, groups per block], or [N, B] for one."""


@dataclass(frozen=True, slots=True)
class BlockType:
    """Attributes:
    record: the fields of a block.
    bits: of a code.
    group_len: inputs that share a scale.
    unpack: from records [N, B] to `Blocks`.
    num_inputs: in a block.
    """

    record: np.dtype[Any]
    bits: int
    group_len: int
    unpack: Callable[[NDArray[Any]], Blocks]
    num_inputs: int = 32
