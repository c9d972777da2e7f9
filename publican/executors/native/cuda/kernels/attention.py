# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,misc"
"""Attention over pages, for prompts and decoding alike.

A program has a block of rows of one sequence, all query heads of one key-value head, and a part of what the sequence holds:

    rows of the matrix unit    [ token 0: heads of the group | token 1: heads of the group | … ]
    parts                      one for long blocks; for short ones as many as keep the card busy, put together afterwards

The softmax runs along (Milakov and Gimelshein, 2018; Dao et al., 2022), in powers of two.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from publican.executors.native.cuda.inputs import StepInputs
from publican.executors.native.cuda.operations import Heads, Pages, Scores

_SHORT_ROWS, _LONG_ROWS = 16, 64
_PROGRAMS_WANTED = 512
_FEWEST_TOKENS = 64
_LOG2_E = 1.4426950408889634


@triton.jit
def _nibbles(codes, step):
    return (codes.to(tl.float32) - 8.0) * step.to(tl.float32)


@triton.jit(do_not_specialize=["table_width", "window"])
def _attend(
    q_ptr, keys_ptr, values_ptr, key_scale_ptr, value_scale_ptr, out_ptr, sums_ptr, blocks_ptr, pages_ptr, positions_ptr,
    q_stride, out_stride, table_width, page_stride, scale, window, softcap,
    GROUP: tl.constexpr, DIM: tl.constexpr, PAGE_LEN: tl.constexpr, PARTS: tl.constexpr,
    HAS_WINDOW: tl.constexpr, HAS_CAP: tl.constexpr, HAS_SCALES: tl.constexpr, NIBBLES: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    block, kv_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    sequence = tl.load(blocks_ptr + 3 * block)
    first_row = tl.load(blocks_ptr + 3 * block + 1)
    num_rows = tl.load(blocks_ptr + 3 * block + 2)
    start = tl.load(positions_ptr + first_row)
    r, d = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    row, head = r // GROUP, kv_head * GROUP + r % GROUP
    position = start + row
    dim = d  # the number that place d of what the cache holds has; with nibbles, the lower one of a byte
    if NIBBLES:
        dim = d // 16 * 32 + d % 16
    WIDTH: tl.constexpr = DIM // 2 if NIBBLES else DIM
    there = (row < num_rows)[:, None] & (dim < DIM)[None, :]
    place = (first_row + row).to(tl.int64)[:, None] * q_stride + head[:, None] * DIM + dim[None, :]
    q = tl.load(q_ptr + place, mask=there, other=0.0)
    if NIBBLES:
        q_high = tl.load(q_ptr + place + 16, mask=there, other=0.0)
    elif not HAS_SCALES:
        q = q.to(keys_ptr.dtype.element_ty)
    end = start + num_rows
    begin = 0
    if HAS_WINDOW:
        begin = tl.maximum(start - window + 1, 0)
    part_len = tl.cdiv(tl.cdiv(end - begin, PARTS), BLOCK_T) * BLOCK_T
    begin += part * part_len
    end = tl.minimum(begin + part_len, end)
    highest = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    out = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    out_high = tl.zeros((BLOCK_M, BLOCK_D if NIBBLES else 1), tl.float32)
    for begin_tile in range(begin, end, BLOCK_T):
        t = begin_tile + tl.arange(0, BLOCK_T)
        page = tl.load(pages_ptr + sequence * table_width + t // PAGE_LEN, mask=t < end, other=0)
        token = page.to(tl.int64) * (page_stride // WIDTH) + kv_head * PAGE_LEN + t % PAGE_LEN
        in_k = (t < end)[None, :] & (d < WIDTH)[:, None]
        k = tl.load(keys_ptr + token[None, :] * WIDTH + d[:, None], mask=in_k, other=0)
        if NIBBLES:
            step = tl.load(key_scale_ptr + token[None, :] * (DIM // 32) + d[:, None] // 16, mask=in_k, other=0.0)
            scores = tl.dot(q, _nibbles(k & 15, step).to(q.dtype), input_precision="ieee")
            scores = tl.dot(q_high, _nibbles(k >> 4, step).to(q.dtype), scores, input_precision="ieee") * scale
        else:
            scores = tl.dot(q, k.to(q.dtype), input_precision="ieee") * scale
        if HAS_SCALES:
            scores *= tl.load(key_scale_ptr + token, mask=t < end, other=0.0).to(tl.float32)[None, :]
        if HAS_CAP:  # tanh(z) = 2 · logistic(2 z) - 1
            scores = softcap * (2.0 * tl.sigmoid(2.0 * scores / softcap) - 1.0)
        scores *= 1.4426950408889634
        seen = (t[None, :] <= position[:, None]) & (t < end)[None, :]
        if HAS_WINDOW:
            seen = seen & (t[None, :] > position[:, None] - window)
        scores = tl.where(seen, scores, float("-inf"))
        new_highest = tl.maximum(highest, tl.max(scores, 1))
        base = tl.where(new_highest == float("-inf"), 0.0, new_highest)
        weights = tl.exp2(scores - base[:, None])
        fade = tl.exp2(highest - base)
        total = total * fade + tl.sum(weights, 1)
        if HAS_SCALES:
            weights *= tl.load(value_scale_ptr + token, mask=t < end, other=0.0).to(tl.float32)[None, :]
        in_v = (t < end)[:, None] & (d < WIDTH)[None, :]
        v = tl.load(values_ptr + token[:, None] * WIDTH + d[None, :], mask=in_v, other=0)
        weights = weights.to(q.dtype)
        if NIBBLES:
            step = tl.load(value_scale_ptr + token[:, None] * (DIM // 32) + d[None, :] // 16, mask=in_v, other=0.0)
            out_high = tl.dot(weights, _nibbles(v >> 4, step).to(q.dtype), out_high * fade[:, None], input_precision="ieee")
            v = _nibbles(v & 15, step)
        out = tl.dot(weights, v.to(q.dtype), out * fade[:, None], input_precision="ieee")
        highest = new_highest
    if PARTS == 1:
        total = tl.where(total > 0.0, total, 1.0)[:, None]
        place = (first_row + row).to(tl.int64)[:, None] * out_stride + head[:, None] * DIM + dim[None, :]
        tl.store(out_ptr + place, (out / total).to(out_ptr.dtype.element_ty), mask=there)
        if NIBBLES:
            tl.store(out_ptr + place + 16, (out_high / total).to(out_ptr.dtype.element_ty), mask=there)
    else:
        slot = ((block * tl.num_programs(1) + kv_head) * PARTS + part).to(tl.int64) * BLOCK_M + r
        tl.store(out_ptr + slot[:, None] * DIM + dim[None, :], out, mask=there)
        if NIBBLES:
            tl.store(out_ptr + slot[:, None] * DIM + dim[None, :] + 16, out_high, mask=there)
        tl.store(sums_ptr + 2 * slot, highest, mask=row < num_rows)
        tl.store(sums_ptr + 2 * slot + 1, total, mask=row < num_rows)


@triton.jit
def _join(
    parts_ptr, sums_ptr, blocks_ptr, out_ptr, out_stride,
    GROUP: tl.constexpr, DIM: tl.constexpr, PARTS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One program for each row and head: what its parts found, weighted by their sums."""
    block, kv_head, r = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first_row = tl.load(blocks_ptr + 3 * block + 1)
    num_rows = tl.load(blocks_ptr + 3 * block + 2)
    if r // GROUP < num_rows:
        part, d = tl.arange(0, PARTS), tl.arange(0, BLOCK_D)
        slot = ((block * tl.num_programs(1) + kv_head) * PARTS + part).to(tl.int64) * BLOCK_M + r
        highest = tl.load(sums_ptr + 2 * slot)
        factor = tl.exp2(highest - tl.max(highest, 0))
        total = tl.sum(factor * tl.load(sums_ptr + 2 * slot + 1), 0)
        parts = tl.load(parts_ptr + slot[:, None] * DIM + d[None, :], mask=(d < DIM)[None, :], other=0.0)
        out = tl.sum(factor[:, None] * parts, 0) / total
        place = (first_row + r // GROUP).to(tl.int64) * out_stride + (kv_head * GROUP + r % GROUP) * DIM + d
        tl.store(out_ptr + place, out.to(out_ptr.dtype.element_ty), mask=d < DIM)


def block_rows(heads: Heads) -> tuple[int, int]:
    """Tokens per program, for short and for long sequences."""
    return _units(heads, _SHORT_ROWS) // heads.per_kv, _units(heads, _LONG_ROWS) // heads.per_kv


def attend(qkv: torch.Tensor, pages: Pages, inputs: StepInputs, heads: Heads, scores: Scores, dst: torch.Tensor) -> None:
    """As `operations.Operations` says."""
    if len(inputs.long):
        _launch(qkv, pages, inputs, inputs.long, 1, _units(heads, _LONG_ROWS), heads, scores, dst, None)
    if not len(inputs.short):
        return
    units = _units(heads, _SHORT_ROWS)
    num_held = inputs.table(pages.is_windowed).shape[1] * pages.keys.shape[2]
    num_parts = parts_for(len(inputs.short) * heads.num_kv, num_held)
    if num_parts == 1:
        _launch(qkv, pages, inputs, inputs.short, 1, units, heads, scores, dst, None)
        return
    shape = len(inputs.short), heads.num_kv, num_parts, units
    found = torch.empty((*shape, heads.dim), dtype=torch.float32, device=qkv.device)
    sums = torch.empty((*shape, 2), dtype=torch.float32, device=qkv.device)
    _launch(qkv, pages, inputs, inputs.short, num_parts, units, heads, scores, found, sums)
    rows = units // heads.per_kv * heads.per_kv
    _join[len(inputs.short), heads.num_kv, rows](
        found, sums, inputs.short, dst, dst.stride(0),
        GROUP=heads.per_kv, DIM=heads.dim, PARTS=num_parts, BLOCK_M=units, BLOCK_D=_block_d(heads), num_warps=2,
    )  # fmt: skip


def parts_for(num_programs: int, num_tokens: int) -> int:
    """1, 4 or 16: enough parts to keep the card busy, and none so small that it is not worth its while.

    Depends on shapes only, so that it is the same whenever a captured step is replayed; few values, for each is compiled.
    """
    wanted = min(_PROGRAMS_WANTED // num_programs, num_tokens // _FEWEST_TOKENS)
    return max(count for count in (1, 4, 16) if count <= max(1, wanted))


def _launch(
    qkv: torch.Tensor,
    pages: Pages,
    inputs: StepInputs,
    blocks: torch.Tensor,
    num_parts: int,
    units: int,
    heads: Heads,
    scores: Scores,
    out: torch.Tensor,
    sums: torch.Tensor | None,
) -> None:
    wide = torch.float32 in (qkv.dtype, pages.keys.dtype) or heads.dim > 128
    table = inputs.table(pages.is_windowed)
    _attend[len(blocks), heads.num_kv, num_parts](
        qkv, *pages.tensors(), out, out if sums is None else sums, blocks, table, inputs.positions,
        qkv.stride(0), out.stride(0), table.shape[1], pages.keys.stride(0),
        scores.scale, scores.window, scores.softcap,
        GROUP=heads.per_kv, DIM=heads.dim, PAGE_LEN=pages.keys.shape[2], PARTS=num_parts,
        HAS_WINDOW=scores.window > 0, HAS_CAP=scores.softcap > 0.0, NIBBLES=pages.are_nibbles,
        HAS_SCALES=pages.key_scales is not None and not pages.are_nibbles,
        BLOCK_M=units, BLOCK_T=32 if wide else 64, BLOCK_D=_block_d(heads) // (2 if pages.are_nibbles else 1),
        num_warps=4, num_stages=2,
    )  # fmt: skip


def _units(heads: Heads, rows: int) -> int:
    return max(rows, int(triton.next_power_of_2(heads.per_kv)))


def _block_d(heads: Heads) -> int:
    return max(16, int(triton.next_power_of_2(heads.dim)))
