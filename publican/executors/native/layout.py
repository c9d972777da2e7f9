"""The one layout of quantised weights.

GPTQ, AWQ, EXL2, compressed-tensors and GGUF's affine types are the same thing packed differently: input columns in some
order, cut into segments of one bit width, cut into groups with a scale and an offset per output row:

    y[n] = Σ_k w[n, k] · x[order[k]]        w[n, k] = scales[n, g] · codes[n, k] + offsets[n, g],   g = k // group_len

Format readers make this, one tensor at a time; each backend packs it once for its own kernels and lets it go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Consecutive (ordered) inputs of one bit width.

    Attributes:
        bits: 2, 3, 4, 5, 6 or 8; codes are below 2**bits.
        group_len: inputs per group; the last group may be shorter.
        codes: uint8 [N, number of inputs].
        scales, offsets: float32 [N, number of groups].
    """

    bits: int
    group_len: int
    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    offsets: NDArray[np.float32]

    @property
    def num_inputs(self) -> int:
        return self.codes.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedMatrix:
    """A quantised weight, [N outputs, K inputs].

    Attributes:
        segments: together they cover the K ordered inputs.
        order: int32 [K], which input each ordered one is; None where that is the identity.
    """

    segments: tuple[Segment, ...]
    order: NDArray[np.int32] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.segments[0].codes.shape[0], sum(s.num_inputs for s in self.segments)


@dataclass(frozen=True, slots=True, eq=False)
class DenseMatrix:
    """A weight as it is, [N, K]: float32, float16, or bfloat16 as uint16. Usually a view of a mapped file."""

    values: NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint16]

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]


Matrix = QuantizedMatrix | DenseMatrix


def dequantise(matrix: Matrix) -> NDArray[np.float32]:
    """The float32 values [N, K], inputs in their original order."""
    if isinstance(matrix, DenseMatrix):
        if matrix.values.dtype == np.uint16:
            return (matrix.values.astype(np.uint32) << 16).view(np.float32)
        return matrix.values.astype(np.float32)
    parts = [_dequantise_segment(segment) for segment in matrix.segments]
    ordered = np.concatenate(parts, axis=1, dtype=np.float32)
    if matrix.order is None:
        return ordered
    out = np.empty_like(ordered)
    out[:, matrix.order] = ordered
    return out


def _dequantise_segment(segment: Segment) -> NDArray[np.float32]:
    num_outputs, num_inputs = segment.codes.shape
    if num_inputs % segment.group_len == 0:
        codes = segment.codes.reshape(num_outputs, -1, segment.group_len)
        values = codes * segment.scales[:, :, None]
        values += segment.offsets[:, :, None]
        return values.reshape(num_outputs, num_inputs)
    group = np.arange(num_inputs) // segment.group_len
    return segment.codes * segment.scales[:, group] + segment.offsets[:, group]


def take_outputs(matrix: Matrix, outputs: slice | NDArray[np.integer[Any]]) -> Matrix:
    """The same matrix with only those outputs, in that order."""
    if isinstance(matrix, DenseMatrix):
        return DenseMatrix(matrix.values[outputs])
    segments = tuple(
        Segment(s.bits, s.group_len, s.codes[outputs], s.scales[outputs], s.offsets[outputs]) for s in matrix.segments
    )
    return QuantizedMatrix(segments, matrix.order)


def stack(matrices: Sequence[Matrix]) -> Matrix | None:
    """One matrix whose outputs are those of `matrices` in turn; None where their inputs are cut or ordered differently."""
    first = matrices[0]
    if isinstance(first, DenseMatrix):
        dense = [m for m in matrices if isinstance(m, DenseMatrix) and m.values.dtype == first.values.dtype]
        return DenseMatrix(np.concatenate([m.values for m in dense])) if len(dense) == len(matrices) else None
    quantised = [m for m in matrices if isinstance(m, QuantizedMatrix) and _cut_alike(m, first)]
    if len(quantised) < len(matrices):
        return None
    segments = tuple(
        Segment(
            s.bits,
            s.group_len,
            np.concatenate([m.segments[i].codes for m in quantised]),
            np.concatenate([m.segments[i].scales for m in quantised]),
            np.concatenate([m.segments[i].offsets for m in quantised]),
        )
        for i, s in enumerate(first.segments)
    )
    return QuantizedMatrix(segments, first.order)


def _cut_alike(a: QuantizedMatrix, b: QuantizedMatrix) -> bool:
    if (a.order is None) != (b.order is None) or len(a.segments) != len(b.segments):
        return False
    if a.order is not None and b.order is not None and not np.array_equal(a.order, b.order):
        return False
    cuts = zip(a.segments, b.segments, strict=True)
    return all((s.bits, s.group_len, s.num_inputs) == (t.bits, t.group_len, t.num_inputs) for s, t in cuts)
