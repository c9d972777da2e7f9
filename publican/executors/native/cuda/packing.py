"""Weights on a device. Knows matrices and tensors; not what they are for. Used by the engine thread while a model is loaded.

A segment of b-bit codes is kept as 32-bit words of its low bits and, for 3, 5 and 6 bits, of its high bits (1 or 2). Rows
are outputs. A row is cut into *chunks* of 16 low words; a chunk of P codes per word holds 16 · P inputs, so that one shift
brings out a *plane* of 16 neighbouring inputs, ready for a matrix unit, whose smallest depth is 16:

    word j of a chunk    [ plane P-1 | … | plane 1 | plane 0 ]      j = 0 … 15
    plane s, word j      input 16 · s + j of the chunk

The high bits of r = low / high neighbouring words share one word: r runs of P fields, one field per plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from publican.core.errors import UnsupportedModel
from publican.executors.native.layout import DenseMatrix, Matrix, QuantizedMatrix, Segment

CHUNK_WORDS = 16
PLANE_LEN = 16
_LOW_AND_HIGH = {2: (2, 0), 3: (2, 1), 4: (4, 0), 5: (4, 1), 6: (4, 2), 8: (8, 0)}
_HALF_MAX = 65_504.0


@dataclass(frozen=True, slots=True, eq=False)
class PackedSegment:
    """Neighbouring (ordered) inputs of one bit width. N outputs.

    Attributes:
        low, high: int32 [N, words] as drawn above; `high` is `low` where there are no high bits.
        low_bits, high_bits: together the width of a code.
        scales, offsets: [N, groups], float16 or float32; w = scales · code + offsets.
        first_input, num_inputs: which of the ordered inputs; the rest of the last chunk is padding.
        group_len: inputs per group, a multiple of 16.
        planes_per_run: how many neighbouring planes are sure to lie in one group.
    """

    low: torch.Tensor
    high: torch.Tensor
    low_bits: int
    high_bits: int
    scales: torch.Tensor
    offsets: torch.Tensor
    first_input: int
    num_inputs: int
    group_len: int
    planes_per_run: int

    @property
    def bits(self) -> int:
        return self.low_bits + self.high_bits

    @property
    def num_planes(self) -> int:
        """Codes per low word."""
        return 32 // self.low_bits

    @property
    def chunk_len(self) -> int:
        return PLANE_LEN * self.num_planes

    @property
    def num_chunks(self) -> int:
        return self.low.shape[1] // CHUNK_WORDS

    @property
    def num_bytes(self) -> int:
        parts = [self.low, self.scales, self.offsets] + ([self.high] if self.high_bits else [])
        return sum(part.numel() * part.element_size() for part in parts)


@dataclass(frozen=True, slots=True, eq=False)
class PackedMatrix:
    """A quantised weight [num_outputs, num_inputs].

    Attributes:
        order: int32; which number of an activation each packed input reads, one past its end for zero; None where
            packed input k is input k.
    """

    segments: tuple[PackedSegment, ...]
    order: torch.Tensor | None
    num_outputs: int
    num_inputs: int

    @property
    def num_bytes(self) -> int:
        return sum(s.num_bytes for s in self.segments) + (0 if self.order is None else 4 * self.order.numel())


@dataclass(frozen=True, slots=True, eq=False)
class DenseWeight:
    """A weight [num_outputs, num_inputs] in the type of the activations."""

    values: torch.Tensor

    @property
    def num_outputs(self) -> int:
        return self.values.shape[0]

    @property
    def num_inputs(self) -> int:
        return self.values.shape[1]

    @property
    def num_bytes(self) -> int:
        return self.values.numel() * self.values.element_size()


Weight = PackedMatrix | DenseWeight


class Packer:
    """Packs matrices for one device.

    Args:
        dtype: of dense weights.
        exact_scales: scales and offsets stay float32.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, exact_scales: bool) -> None:
        self.device = device
        self._dtype = dtype
        self._exact_scales = exact_scales
        self.num_bytes = 0

    def pack(self, matrix: Matrix) -> Weight:
        """Raises UnsupportedModel for a bit width that is not known."""
        weight = self._dense(matrix) if isinstance(matrix, DenseMatrix) else self._quantised(matrix)
        self.num_bytes += weight.num_bytes
        return weight

    def vector(self, values: NDArray[np.float32]) -> torch.Tensor:
        """A norm's weight or a bias, float32."""
        return torch.from_numpy(np.array(values, np.float32)).to(self.device)

    def _dense(self, matrix: DenseMatrix) -> DenseWeight:
        values = matrix.values
        if values.dtype == np.uint16:
            host = torch.from_numpy(np.array(values).view(np.int16)).view(torch.bfloat16)
        else:
            host = torch.from_numpy(np.array(values))
        return DenseWeight(host.to(self.device).to(self._dtype))

    def _quantised(self, matrix: QuantizedMatrix) -> PackedMatrix:
        num_outputs, num_inputs = matrix.shape
        order = np.arange(num_inputs, dtype=np.int32) if matrix.order is None else matrix.order
        segments: list[PackedSegment] = []
        places: list[NDArray[np.int32]] = []
        first = packed = 0
        for segment in matrix.segments:
            own = order[first : first + segment.num_inputs]
            spread, codes = _spread(segment, own, num_inputs)
            segments.append(self._segment(segment, codes, packed))
            places.append(spread)
            first += segment.num_inputs
            packed += len(spread)
        joined = np.concatenate(places)
        identity = len(joined) == num_inputs and bool((joined == np.arange(num_inputs)).all())
        gather = None if identity else torch.from_numpy(joined).to(self.device)
        return PackedMatrix(tuple(segments), gather, num_outputs, num_inputs)

    def _segment(self, segment: Segment, codes: NDArray[np.uint8], first_input: int) -> PackedSegment:
        if segment.bits not in _LOW_AND_HIGH:
            raise UnsupportedModel(f"Weights of {segment.bits} bits are not known here; use a file with 2 to 8 bits.")
        low_bits, high_bits = _LOW_AND_HIGH[segment.bits]
        group_len = _group_len(segment)
        low, high = pack_codes(torch.from_numpy(codes).to(self.device), low_bits, high_bits)
        return PackedSegment(
            low=low,
            high=high,
            low_bits=low_bits,
            high_bits=high_bits,
            scales=self._scales(segment.scales),
            offsets=self._scales(segment.offsets),
            first_input=first_input,
            num_inputs=codes.shape[1],
            group_len=group_len,
            planes_per_run=math.gcd(group_len // PLANE_LEN, 32 // low_bits),
        )

    def _scales(self, values: NDArray[np.float32]) -> torch.Tensor:
        exact = torch.from_numpy(np.array(values, np.float32)).to(self.device)
        if self._exact_scales or bool((exact.abs() > _HALF_MAX).any()):
            return exact
        half = exact.half()
        tiny = (exact != 0) & (half.abs() < 2.0**-14)  # below this float16 has fewer digits
        return exact if bool(tiny.any()) else half


def _group_len(segment: Segment) -> int:
    """Inputs per group once each group is padded to whole planes."""
    group_len = min(segment.group_len, segment.num_inputs)
    return -(-group_len // PLANE_LEN) * PLANE_LEN


def _spread(segment: Segment, own: NDArray[np.int32], num_inputs: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The activation's number for each packed input, and the codes, with groups padded to whole planes.

    A last group that is short needs no padding: nothing follows it but the chunk's own padding.
    """
    group_len = min(segment.group_len, segment.num_inputs)
    padded_len = _group_len(segment)
    if group_len in (padded_len, segment.num_inputs):
        return np.asarray(own, np.int32), np.array(segment.codes)
    inputs = np.arange(segment.num_inputs)
    places = inputs // group_len * padded_len + inputs % group_len
    spread = np.full(int(places[-1]) + 1, num_inputs, np.int32)
    spread[places] = own
    codes = np.zeros((segment.codes.shape[0], len(spread)), np.uint8)
    codes[:, places] = segment.codes
    return spread, codes


def pack_codes(codes: torch.Tensor, low_bits: int, high_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Low and high words of uint8 codes [N, K], on their device, a block of rows at a time."""
    num_planes = 32 // low_bits
    chunk_len = PLANE_LEN * num_planes
    num_outputs, num_inputs = codes.shape
    num_chunks = -(-num_inputs // chunk_len)
    low = torch.empty((num_outputs, num_chunks * CHUNK_WORDS), dtype=torch.int32, device=codes.device)
    sharing = low_bits // high_bits if high_bits else 1
    high = torch.empty((num_outputs, low.shape[1] // sharing), dtype=torch.int32, device=codes.device) if high_bits else low
    rows_at_once = max(1, (1 << 26) // (num_chunks * chunk_len))  # so that what is made on the way stays small
    for start in range(0, num_outputs, rows_at_once):
        rows = codes[start : start + rows_at_once]
        padded = torch.zeros((rows.shape[0], num_chunks * chunk_len), dtype=torch.uint8, device=codes.device)
        padded[:, :num_inputs] = rows
        planes = padded.view(rows.shape[0], num_chunks, num_planes, CHUNK_WORDS).transpose(2, 3)  # plane last
        low[start : start + rows_at_once] = _join(planes & ((1 << low_bits) - 1), low_bits).flatten(1)
        if high_bits:
            fields = (planes >> low_bits).reshape(rows.shape[0], -1, sharing * num_planes)
            high[start : start + rows_at_once] = _join(fields, high_bits)
    return low, high


def _join(fields: torch.Tensor, bits: int) -> torch.Tensor:
    """Words whose field i, counted from the lowest, is fields[…, i]."""
    words = torch.zeros(fields.shape[:-1], dtype=torch.int32, device=fields.device)
    for i in range(fields.shape[-1]):
        words |= fields[..., i].int() << (bits * i)
    return words


def unpack_codes(segment: PackedSegment, rows: torch.Tensor | None = None) -> torch.Tensor:
    """The codes [N, num_inputs] of a segment, or of some of its rows, as int32: the twin of every kernel's unpacking."""
    low, high = segment.low, segment.high
    if rows is not None:
        low, high = low[rows], high[rows]
    shifts = torch.arange(segment.num_planes, device=low.device, dtype=torch.int32) * segment.low_bits
    planes: torch.Tensor = (low.view(len(low), -1, CHUNK_WORDS)[..., None] >> shifts) & ((1 << segment.low_bits) - 1)
    if segment.high_bits:
        sharing = segment.low_bits // segment.high_bits
        places = torch.arange(sharing * segment.num_planes, device=low.device, dtype=torch.int32) * segment.high_bits
        fields = (high[..., None] >> places) & ((1 << segment.high_bits) - 1)
        planes = planes | (fields.reshape(planes.shape) << segment.low_bits)
    return planes.transpose(2, 3).flatten(1)[:, : segment.num_inputs]


def dequantise(matrix: PackedMatrix, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Float32 values [N, num_inputs] of a matrix, or of some of its rows, inputs in their original order."""
    parts: list[torch.Tensor] = []
    for segment in matrix.segments:
        scales, offsets = segment.scales, segment.offsets
        if rows is not None:
            scales, offsets = scales[rows], offsets[rows]
        group = torch.arange(segment.num_inputs, device=scales.device) // segment.group_len
        parts.append(unpack_codes(segment, rows) * scales.float()[:, group] + offsets.float()[:, group])
    ordered = torch.cat(parts, 1)
    if matrix.order is None:
        return ordered
    values = ordered.new_zeros((ordered.shape[0], matrix.num_inputs + 1))
    values[:, matrix.order.long()] = ordered
    return values[:, :-1]
