"""Weights into panels: one call of the library per segment, while a model is loaded.

What is not a multiple of a block is padded. Ordered inputs (act-order, EXL2) and padding inside a row become a `gather`:
which number of the activation each packed input reads. The drawings are in `src/tiles.h`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import UnsupportedModel
from publican.executors.native.cpu import records
from publican.executors.native.cpu.library import Engine
from publican.executors.native.cpu.memory import Arena
from publican.executors.native.cpu.records import PcpuMatrix, PcpuSegment, PcpuSource
from publican.executors.native.layout import DenseMatrix, Matrix, QuantizedMatrix, Segment


@dataclass(slots=True, eq=False)
class PackedMatrix:
    """A weight in panels, and what keeps its memory alive.

    Attributes:
        record: the C structure.
        num_inputs: before padding.
        width: of the activation it reads, padding included.
        gather: int32 [width], -1 for zero; None where packed input k is input k.
    """

    record: PcpuMatrix
    num_inputs: int
    width: int
    gather: NDArray[np.int32] | None
    keep: list[Any] = field(default_factory=list)

    @property
    def num_outputs(self) -> int:
        return int(self.record.num_outputs)

    @property
    def storage(self) -> int:
        return int(self.record.segments[0].storage)


class Packer:
    """Packs matrices. Keeps the panels' memory, nothing of what they were made from.

    `exact_scales` keeps scales as float32 wherever float16 would round them.
    """

    def __init__(self, engine: Engine, exact_scales: bool) -> None:
        self._engine = engine
        self._exact_scales = exact_scales
        self._arena = Arena()

    @property
    def num_bytes(self) -> int:
        """What all panels take."""
        return self._arena.num_bytes

    def pack(self, matrix: Matrix) -> PackedMatrix:
        """Raises UnsupportedModel for a bit width that is not known."""
        return self._dense(matrix) if isinstance(matrix, DenseMatrix) else self._quantised(matrix)

    def _dense(self, matrix: DenseMatrix) -> PackedMatrix:
        values = _rows(matrix.values)
        storage = dense_storage(values)
        num_outputs, num_inputs = values.shape
        width = _up(num_inputs, 32) if storage == records.BF16 else num_inputs
        block_len = 4 if storage == records.BF16 else 1
        segment = PcpuSegment(storage=storage, block_len=block_len, blocks_per_group=1, num_blocks=width // block_len)
        source = PcpuSource(
            values=values.ctypes.data,
            row_stride=values.strides[0] // values.itemsize,
            num_outputs=num_outputs,
            num_inputs=num_inputs,
            group_len=num_inputs,
        )
        return self._fill([(source, segment)], num_inputs, width, None)

    def _quantised(self, matrix: QuantizedMatrix) -> PackedMatrix:
        pairs, keep, first = [], [], 0
        places: list[NDArray[np.int64]] = []
        for piece in matrix.segments:
            segment = _cut(piece)
            segment.first_input = first
            codes, scales, offsets = _rows(piece.codes), _floats(piece.scales), _floats(piece.offsets)
            fits = self._engine.fits_half
            segment.wide_scales = not (fits(scales, self._exact_scales) and fits(offsets, self._exact_scales))
            keep += [codes, scales, offsets]
            source = PcpuSource(
                values=codes.ctypes.data,
                row_stride=codes.strides[0],
                scales=scales.ctypes.data,
                offsets=offsets.ctypes.data,
                scale_stride=scales.shape[1],
                num_outputs=codes.shape[0],
                num_inputs=codes.shape[1],
                group_len=min(piece.group_len, codes.shape[1]),
            )
            pairs.append((source, segment))
            places.append(first + _places(piece.num_inputs, int(source.group_len), segment))
            first = _up(first + segment.num_blocks * segment.block_len, 32)
        num_inputs = matrix.shape[1]
        gather = _gather(np.concatenate(places), matrix.order, num_inputs, first)
        return self._fill(pairs, num_inputs, first, gather)

    def _fill(
        self, pairs: list[tuple[PcpuSource, PcpuSegment]], num_inputs: int, width: int, gather: NDArray[np.int32] | None
    ) -> PackedMatrix:
        num_outputs = pairs[0][0].num_outputs
        num_panels = -(-num_outputs // records.LANES)
        for _, segment in pairs:
            segment.panel_bytes = self._engine.panel_bytes(segment)
        memory = [self._arena.allocate(segment.panel_bytes * num_panels) for _, segment in pairs]
        for (source, segment), panels in zip(pairs, memory, strict=True):
            segment.data = panels.ctypes.data
            self._engine.pack(source, segment)
        segments = (PcpuSegment * len(pairs))(*(segment for _, segment in pairs))
        record = PcpuMatrix(segments, len(pairs), num_outputs, width)
        return PackedMatrix(record, num_inputs, width, gather, [*memory, segments])


def dense_storage(values: NDArray[Any]) -> int:
    """Bfloat16 comes as uint16."""
    return {"u": records.BF16, "f": records.F16 if values.itemsize == 2 else records.F32}[values.dtype.kind]


def _cut(piece: Segment) -> PcpuSegment:
    """How a segment is cut into blocks and groups. Sums over 32 inputs are cheapest; groups of other lengths take 16."""
    if piece.bits not in (2, 3, 4, 5, 6, 8):
        raise UnsupportedModel(f"Weights of {piece.bits} bits are not known here; use a file with 2 to 8 bits.")
    group_len = min(piece.group_len, piece.num_inputs)
    one_group = group_len == piece.num_inputs
    block_len = 32 if one_group or group_len % 32 == 0 else 16
    num_groups = -(-piece.num_inputs // group_len)
    last_len = piece.num_inputs - (num_groups - 1) * group_len
    per_group = -(-group_len // block_len)
    return PcpuSegment(
        storage=records.CODES4 if piece.bits <= 4 else records.CODES8,
        block_len=block_len,
        blocks_per_group=per_group,
        num_blocks=(num_groups - 1) * per_group - (-last_len // block_len),
    )


def _places(num_inputs: int, group_len: int, segment: PcpuSegment) -> NDArray[np.int64]:
    """Where each input of a segment comes to lie within it."""
    inputs = np.arange(num_inputs)
    places: NDArray[np.int64] = inputs // group_len * (segment.blocks_per_group * segment.block_len) + inputs % group_len
    return places


def _gather(
    places: NDArray[np.int64], order: NDArray[np.int32] | None, num_inputs: int, width: int
) -> NDArray[np.int32] | None:
    gather = np.full(width, -1, np.int32)
    gather[places] = np.arange(num_inputs) if order is None else order
    plain = (
        np.arange(width) if width <= num_inputs else np.concatenate([np.arange(num_inputs), np.full(width - num_inputs, -1)])
    )
    return None if np.array_equal(gather, plain) else gather


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    """Rows whose numbers lie side by side: a view where they already do."""
    return values if values.strides[1] == values.itemsize and values.strides[0] > 0 else np.ascontiguousarray(values)


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
