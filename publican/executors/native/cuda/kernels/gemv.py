# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,misc"
"""Quantised weights times one or two rows: as fast as the words can be read.

A program has a few outputs and all inputs; no split, no atomics, so the same numbers come out every time. Scales are applied
to sums over a run of planes, where they are the same, and offsets to sums of the activations alone.

Codes are multiplied where they lie in their words, as subnormal numbers of 2^-149 and more, by activations made larger by
2^96 and by as much smaller as the code lies higher; that leaves 2^-53 to be made good, and room for activations to 2^31.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from publican.executors.native.cuda.kernels.codes import field, load_words
from publican.executors.native.cuda.packing import PackedSegment

_BLOCK_N = 8
_MOST_CHUNKS = 16


@triton.jit
def _multiplied(products, x, low, high, PLANE: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr):
    """products + 2^-53 · codes of a plane · x"""
    HALF: tl.constexpr = 16 // LOW
    SHIFT: tl.constexpr = LOW * (PLANE % HALF)
    if PLANE < HALF:
        codes = field(low, SHIFT, LOW)
    else:
        codes = field(low >> 16, SHIFT, LOW)
    products += codes * (x * 2.0 ** (96 - SHIFT))[None, :, :]
    if HIGH > 0:
        products += field(high, HIGH * PLANE, HIGH) * (x * 2.0 ** (96 + LOW - HIGH * PLANE))[None, :, :]
    return products


@triton.jit
def _gemv(
    x_ptr, low_ptr, high_ptr, scale_ptr, offset_ptr, bias_ptr, owner_ptr, y_ptr,
    x_stride, y_stride, num_outputs, num_inputs, num_words, num_groups, group_len,
    LOW: tl.constexpr, HIGH: tl.constexpr, RUN: tl.constexpr, HAS_BIAS: tl.constexpr,
    EXPERTS: tl.constexpr, BLOCK_N: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    PLANES: tl.constexpr = 32 // LOW
    row = tl.program_id(0)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    own = n.to(tl.int64)
    if EXPERTS:
        own += tl.load(owner_ptr + row).to(tl.int64) * num_outputs
    lane = tl.arange(0, 16)
    num_chunks = num_words // 16
    total = tl.zeros((BLOCK_N, CHUNKS), tl.float32)
    for first in range(0, num_chunks, CHUNKS):
        chunk = first + tl.arange(0, CHUNKS)
        inside = (n < num_outputs)[:, None] & (chunk < num_chunks)[None, :]
        word = (chunk[:, None] * 16 + lane[None, :])[None, :, :]
        rows = own[:, None, None]
        low, high = load_words(low_ptr, high_ptr, rows, num_words, word, inside[:, :, None], LOW, HIGH)
        for run in tl.static_range(PLANES // RUN):
            products = tl.zeros((BLOCK_N, CHUNKS, 16), tl.float32)
            plain = tl.zeros((CHUNKS, 16), tl.float32)
            for step in tl.static_range(RUN):
                k = chunk[:, None] * (16 * PLANES) + (run * RUN + step) * 16 + lane[None, :]
                x = tl.load(x_ptr + row * x_stride + k, mask=k < num_inputs, other=0.0).to(tl.float32)
                products = _multiplied(products, x, low, high, run * RUN + step, LOW, HIGH)
                plain += x
            group = (chunk * (16 * PLANES) + run * RUN * 16) // group_len
            inside_group = inside & (group < num_groups)[None, :]
            place = own[:, None] * num_groups + group[None, :]
            scale = tl.load(scale_ptr + place, mask=inside_group, other=0.0).to(tl.float32)
            offset = tl.load(offset_ptr + place, mask=inside_group, other=0.0).to(tl.float32)
            total += scale * (tl.sum(products, 2) * 2.0**53) + offset * tl.sum(plain, 1)[None, :]
    y = tl.sum(total, 1)
    if HAS_BIAS:
        y += tl.load(bias_ptr + n, mask=n < num_outputs, other=0.0)
    tl.store(y_ptr + row * y_stride + n, y.to(y_ptr.dtype.element_ty), mask=n < num_outputs)


def gemv(
    x: torch.Tensor,
    segment: PackedSegment,
    bias: torch.Tensor | None,
    y: torch.Tensor,
    owners: torch.Tensor | None = None,
) -> None:
    """y [M, N] = x · weightᵀ + bias, x [M, inputs of the segment] being in the segment's order.

    With `owners`, integers [M], the segment has as many times N outputs as there are experts, and row m wants those of its own.
    """
    num_outputs = y.shape[1]
    _gemv[x.shape[0], triton.cdiv(num_outputs, _BLOCK_N)](
        x, segment.low, segment.high, segment.scales, segment.offsets, x if bias is None else bias,
        segment.low if owners is None else owners, y,
        x.stride(0), y.stride(0), num_outputs, segment.num_inputs, segment.low.shape[1], segment.scales.shape[1],
        segment.group_len,
        LOW=segment.low_bits, HIGH=segment.high_bits, RUN=segment.planes_per_run, HAS_BIAS=bias is not None,
        EXPERTS=owners is not None,
        BLOCK_N=_BLOCK_N, CHUNKS=min(_MOST_CHUNKS, triton.next_power_of_2(segment.num_chunks)),
        num_warps=4,
    )  # fmt: skip
