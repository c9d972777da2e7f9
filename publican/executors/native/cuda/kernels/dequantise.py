# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,misc"
"""Quantised weights as plain ones: into scratch memory for prompts, where cuBLAS takes over, and rows of an embedding."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from publican.executors.native.cuda.kernels.codes import code, load_words
from publican.executors.native.cuda.packing import PackedSegment

_BLOCK_N = 32


@triton.jit(do_not_specialize=["num_rows"])
def _dequantise(
    low_ptr, high_ptr, scale_ptr, offset_ptr, row_ptr, out_ptr,
    out_stride, factor, num_rows, num_inputs, num_words, num_groups, group_len,
    LOW: tl.constexpr, HIGH: tl.constexpr, RUN: tl.constexpr, HAS_ROWS: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    PLANES: tl.constexpr = 32 // LOW
    place = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    chunk = tl.program_id(1)
    lane = tl.arange(0, 16)
    inside = place < num_rows
    n = place.to(tl.int64)
    if HAS_ROWS:
        n = tl.load(row_ptr + place, mask=inside, other=0).to(tl.int64)
    word = chunk * 16 + lane[None, :]
    low, high = load_words(low_ptr, high_ptr, n[:, None], num_words, word, inside[:, None], LOW, HIGH)
    for run in tl.static_range(PLANES // RUN):
        group = tl.minimum((chunk * (16 * PLANES) + run * RUN * 16) // group_len, num_groups - 1)  # padding is not stored
        scale = tl.load(scale_ptr + n * num_groups + group, mask=inside, other=0.0).to(tl.float32)
        offset = tl.load(offset_ptr + n * num_groups + group, mask=inside, other=0.0).to(tl.float32)
        for step in tl.static_range(RUN):
            k = chunk * (16 * PLANES) + (run * RUN + step) * 16 + lane
            value = code(low, high, run * RUN + step, LOW, HIGH).to(tl.float32)
            value = (scale[:, None] * value + offset[:, None]) * factor
            target = out_ptr + place.to(tl.int64)[:, None] * out_stride + k[None, :]
            tl.store(target, value.to(out_ptr.dtype.element_ty), mask=inside[:, None] & (k < num_inputs)[None, :])


def dequantise_segment(
    segment: PackedSegment, out: torch.Tensor, rows: torch.Tensor | None = None, factor: float = 1.0
) -> None:
    """out [N, inputs of the segment] = factor · weight, or those of its rows; inputs in the segment's order."""
    num_rows = out.shape[0]
    _dequantise[triton.cdiv(num_rows, _BLOCK_N), segment.num_chunks](
        segment.low, segment.high, segment.scales, segment.offsets, segment.low if rows is None else rows, out,
        out.stride(0), factor, num_rows, segment.num_inputs, segment.low.shape[1], segment.scales.shape[1],
        segment.group_len,
        LOW=segment.low_bits, HIGH=segment.high_bits, RUN=segment.planes_per_run, HAS_ROWS=rows is not None,
        BLOCK_N=_BLOCK_N,
        num_warps=4,
    )  # fmt: skip
