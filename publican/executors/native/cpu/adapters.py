"""What adapters add to linear layers, as panels and records. `src/adapters.h` has the kernels.

The numbers between `down` and `up` lie in one buffer that all layers use in turn. A row has one adapter at most, so those of
different adapters lie over one another there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ctypes import pointer
from dataclasses import dataclass
from typing import Any

import numpy as np

from publican.executors.native.cpu import records
from publican.executors.native.cpu.buffers import Buffers
from publican.executors.native.cpu.packing import PackedMatrix, Packer
from publican.executors.native.cpu.records import PcpuBuffer, PcpuDown, PcpuShrink, PcpuUp, PcpuUps
from publican.executors.native.layout import DenseMatrix, dequantise
from publican.executors.native.program import LowRank

_INNER = "inner"


@dataclass(frozen=True, slots=True, eq=False)
class PackedLowRank:
    """`program.LowRank` in panels. `up` adds to whole panels of the layer, from `first_panel` on."""

    adapter: int
    down: PackedMatrix
    up: PackedMatrix
    scale: float
    first_panel: int


Layer = Sequence[PackedLowRank]
"""What is added to one linear layer."""


def pack_low_ranks(added: Iterable[LowRank], packer: Packer) -> tuple[PackedLowRank, ...]:
    downs: dict[int, PackedMatrix] = {}
    packed = []
    for each in added:
        down = downs.get(id(each.down))
        if down is None:
            down = downs[id(each.down)] = packer.pack(_floats(each.down.values))
        first_panel, before = divmod(each.column, records.LANES)
        up = np.pad(each.up.values, ((before, 0), (0, 0)))  # zero is zero in bfloat16 too
        packed.append(PackedLowRank(each.adapter, down, packer.pack(_floats(up)), each.scale, first_panel))
    return tuple(packed)


def _floats(values: Any) -> DenseMatrix:
    """Panels of bfloat16 would want activations in it. Float16 has more digits, and what is too small for it adds nothing."""
    if values.dtype != np.uint16:
        return DenseMatrix(np.ascontiguousarray(values))
    exact = dequantise(DenseMatrix(values))
    with np.errstate(over="ignore"):
        half = exact.astype(np.float16)
    return DenseMatrix(half if np.isfinite(half).all() else exact)


class Adapters:
    """Makes the records of a program's adapters.

    Args:
        groups: the layers that are computed together, or more of them.
    """

    def __init__(self, groups: Iterable[Sequence[Layer]], max_tokens: int) -> None:
        width = max((_width(group) for group in groups), default=0)
        self._buffers = Buffers({_INNER: max(width, 1)}, max_tokens)
        self._keep: list[Any] = []

    def records(self, src: PcpuBuffer, layers: Sequence[Layer]) -> tuple[PcpuShrink, list[PcpuUps]]:
        """What comes before layers that read `src`, and what each of them adds."""
        inner = self._buffers[_INNER]
        places = _places(layers)
        downs = {
            key: PcpuDown(pointer(each.down.record), each.adapter, places[key], each.scale) for key, each in _keyed(layers)
        }
        adapted = []
        for layer in layers:
            ups = [PcpuUp(pointer(each.up.record), each.adapter, places[_key(each)], each.first_panel) for each in layer]
            adapted.append(PcpuUps(inner, (PcpuUp * len(ups))(*ups), len(ups)))
        shrink = PcpuShrink(src, inner, (PcpuDown * len(downs))(*downs.values()), len(downs))
        self._keep.append((layers, shrink, adapted))
        return shrink, adapted


_Key = tuple[int, int, float]


def _key(each: PackedLowRank) -> _Key:
    """Layers may share what they multiply, as gate and up do where an adapter has them in one."""
    return each.adapter, id(each.down), each.scale


def _keyed(layers: Sequence[Layer]) -> list[tuple[_Key, PackedLowRank]]:
    return [(_key(each), each) for layer in layers for each in layer]


def _places(layers: Sequence[Layer]) -> dict[_Key, int]:
    """Where each one's numbers begin: those of one adapter one after another."""
    places: dict[_Key, int] = {}
    ends: dict[int, int] = {}
    for key, each in _keyed(layers):
        if key not in places:
            places[key] = ends.get(each.adapter, 0)
            ends[each.adapter] = places[key] + _padded_rank(each)
    return places


def _width(layers: Sequence[Layer]) -> int:
    places = _places(layers)
    return max((places[key] + _padded_rank(each) for key, each in _keyed(layers)), default=0)


def _padded_rank(each: PackedLowRank) -> int:
    return -(-each.down.num_outputs // records.LANES) * records.LANES
