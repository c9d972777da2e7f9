# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,misc"
"""Quantised weights times some tens of rows, on the matrix units.

Weights are the left operand, made in registers: codes as they are, exact in bfloat16. A run of planes lies in one group, so
its sum is scaled once, in float32. Inputs are split among programs, whose sums are written side by side and added by whoever
reads them: no atomics, so the same numbers come out every time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from publican.executors.native.cuda.kernels.codes import code, load_words
from publican.executors.native.cuda.packing import PackedSegment

_BLOCK_N = 64
_MOST_ROWS = 64
_PROGRAMS_WANTED = 264
_FEWEST_CHUNKS = 4


@triton.jit
def operand(value, BITS: tl.constexpr, DTYPE: tl.constexpr):
    """Codes as a matrix unit takes them, and by how much each is too large: bfloat16 by a bit pattern, 2^7 + code."""
    if DTYPE == tl.bfloat16 and BITS < 8:
        made = (value | 0x4300).to(tl.int16).to(tl.bfloat16, bitcast=True)
    else:
        made = value.to(tl.float32).to(DTYPE)
    return made


@triton.jit(do_not_specialize=["num_rows", "chunks_per_split"])
def _gemm(
    x_ptr, low_ptr, high_ptr, scale_ptr, offset_ptr, block_ptr, y_ptr,
    x_stride, num_rows, num_outputs, num_inputs, num_words, num_groups, group_len, chunks_per_split,
    LOW: tl.constexpr, HIGH: tl.constexpr, RUN: tl.constexpr, RAISED: tl.constexpr, EXPERTS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    PLANES: tl.constexpr = 32 // LOW
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    split = tl.program_id(1)
    m = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M)
    lane = tl.arange(0, 16)
    total = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    rows = n.to(tl.int64)
    first = split * chunks_per_split
    last = tl.minimum(first + chunks_per_split, num_words // 16)
    here = m < num_rows
    if EXPERTS:  # a block of rows of one expert, perhaps empty
        block = block_ptr + tl.program_id(2) * 3
        rows += tl.load(block).to(tl.int64) * num_outputs
        count = tl.load(block + 2)
        m = tl.load(block + 1) + tl.arange(0, BLOCK_M)
        here = tl.arange(0, BLOCK_M) < count
        last = tl.where(count > 0, last, first)
    for chunk in range(first, last):
        word = chunk * 16 + lane[None, :]
        low, high = load_words(low_ptr, high_ptr, rows[:, None], num_words, word, (n < num_outputs)[:, None], LOW, HIGH)
        for run in tl.static_range(PLANES // RUN):
            products = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
            plain = tl.zeros((16, BLOCK_M), tl.float32)
            for step in tl.static_range(RUN):
                k = chunk * (16 * PLANES) + (run * RUN + step) * 16 + lane
                inside = (k < num_inputs)[:, None] & here[None, :]
                x = tl.load(x_ptr + m[None, :] * x_stride + k[:, None], mask=inside, other=0.0)
                w = operand(code(low, high, run * RUN + step, LOW, HIGH), LOW + HIGH, DTYPE)
                products = tl.dot(w, x, products, input_precision="ieee")
                plain += x.to(tl.float32)
            group = tl.minimum((chunk * (16 * PLANES) + run * RUN * 16) // group_len, num_groups - 1)  # padding is zeros
            scale = tl.load(scale_ptr + rows * num_groups + group, mask=n < num_outputs, other=0.0).to(tl.float32)
            offset = tl.load(offset_ptr + rows * num_groups + group, mask=n < num_outputs, other=0.0).to(tl.float32)
            offset -= scale * RAISED
            total += scale[:, None] * products + offset[:, None] * tl.sum(plain, 0)[None, :]
    place = (split * num_rows + m).to(tl.int64)[None, :] * num_outputs + n[:, None]
    tl.store(y_ptr + place, total, mask=(n < num_outputs)[:, None] & here[None, :])


def num_splits(segment: PackedSegment, num_rows: int) -> int:
    """Among how many programs the inputs are split, so that there is work for every multiprocessor."""
    num_programs = triton.cdiv(segment.low.shape[0], _BLOCK_N) * triton.cdiv(num_rows, _MOST_ROWS)
    wanted = max(1, _PROGRAMS_WANTED // num_programs)
    chunks = max(_FEWEST_CHUNKS, triton.cdiv(segment.num_chunks, wanted))
    return int(triton.cdiv(segment.num_chunks, chunks))


def gemm(x: torch.Tensor, segment: PackedSegment, y: torch.Tensor) -> None:
    """Write y [splits, M, N], float32 and contiguous, which add up to x · weightᵀ."""
    block_m = min(_MOST_ROWS, max(16, triton.next_power_of_2(x.shape[0])))
    _launch(x, segment, None, y, (triton.cdiv(x.shape[0], block_m), block_m))


def gemm_of_experts(x: torch.Tensor, segment: PackedSegment, blocks: torch.Tensor, block_len: int, y: torch.Tensor) -> None:
    """Write y [P, N], float32 and contiguous: of each row of x the outputs of its own expert.

    Args:
        segment: of as many times N outputs as there are experts.
        blocks: `mixtures.Groups.blocks`, of `block_len` rows at most, which is a power of two from 16 to 64.
    """
    _launch(x, segment, blocks, y[None], (len(blocks), block_len))


def _launch(
    x: torch.Tensor, segment: PackedSegment, blocks: torch.Tensor | None, y: torch.Tensor, cut: tuple[int, int]
) -> None:
    num_blocks, block_m = cut
    num_rows, num_outputs = x.shape[0], y.shape[2]
    raised = 128 if x.dtype == torch.bfloat16 and segment.bits < 8 else 0
    _gemm[triton.cdiv(num_outputs, _BLOCK_N), y.shape[0], num_blocks](
        x, segment.low, segment.high, segment.scales, segment.offsets, segment.low if blocks is None else blocks, y,
        x.stride(0), num_rows, num_outputs, segment.num_inputs, segment.low.shape[1], segment.scales.shape[1],
        segment.group_len, triton.cdiv(segment.num_chunks, y.shape[0]),
        LOW=segment.low_bits, HIGH=segment.high_bits, RUN=segment.planes_per_run, RAISED=raised, EXPERTS=blocks is not None,
        BLOCK_N=_BLOCK_N, BLOCK_M=block_m,
        num_warps=4 if block_m < 64 else 8, num_stages=4,
    )  # fmt: skip
