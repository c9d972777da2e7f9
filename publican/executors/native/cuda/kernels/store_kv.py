# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,misc"
"""Norms of heads, rotation, and keys and values into their pages: one program for each head of each token.

A cache of 4 bits takes a second kernel, which mixes queries and keys and rounds keys and values, 32 numbers at a time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from publican.executors.native.cuda.inputs import StepInputs
from publican.executors.native.cuda.operations import HeadNorms, Heads, Pages
from publican.executors.native.cuda.twins import SMALLEST_SCALE


@triton.jit
def _codes(x, scale):
    return tl.minimum(tl.maximum(tl.floor(x / scale.to(tl.float32) + 0.5), -127.0), 127.0)


@triton.jit(do_not_specialize=["table_width"])
def _store_kv(
    qkv_ptr, keys_ptr, values_ptr, key_scale_ptr, value_scale_ptr, cos_ptr, sin_ptr, q_norm_ptr, k_norm_ptr,
    positions_ptr, owners_ptr, pages_ptr,
    qkv_stride, table_width, page_stride, eps,
    NUM_Q: tl.constexpr, NUM_KV: tl.constexpr, DIM: tl.constexpr, PAGE_LEN: tl.constexpr, HALF: tl.constexpr,
    HAS_ROPE: tl.constexpr, HAS_NORM: tl.constexpr, HAS_SCALES: tl.constexpr, SMALLEST: tl.constexpr,
    IN_PLACE: tl.constexpr,
    BLOCK_HALF: tl.constexpr, BLOCK_REST: tl.constexpr,
):  # fmt: skip
    """A head is [first HALF | second HALF | rest]; number i of the first turns with number i of the second.

    IN_PLACE: keys stay beside the queries, and there are no programs for values.
    """
    row = tl.program_id(0)
    head = tl.program_id(1)
    i = tl.arange(0, BLOCK_HALF)
    j = tl.arange(0, BLOCK_REST)
    in_first, in_second, in_rest = i < HALF, (i < HALF) & (i + HALF < DIM), j + 2 * HALF < DIM
    source = qkv_ptr + row.to(tl.int64) * qkv_stride + head * DIM
    first = tl.load(source + i, mask=in_first, other=0.0).to(tl.float32)
    second = tl.load(source + HALF + i, mask=in_second, other=0.0).to(tl.float32)
    rest = tl.load(source + 2 * HALF + j, mask=in_rest, other=0.0).to(tl.float32)
    position = tl.load(positions_ptr + row)
    is_q, is_k = head < NUM_Q, (head >= NUM_Q) & (head < NUM_Q + NUM_KV)
    if HAS_NORM:
        if is_q | is_k:
            weight_ptr = q_norm_ptr
            if is_k:
                weight_ptr = k_norm_ptr
            square = tl.sum(first * first) + tl.sum(second * second) + tl.sum(rest * rest)
            factor = 1.0 / tl.sqrt(square / DIM + eps)
            first *= factor * tl.load(weight_ptr + i, mask=in_first, other=0.0)
            second *= factor * tl.load(weight_ptr + HALF + i, mask=in_second, other=0.0)
            rest *= factor * tl.load(weight_ptr + 2 * HALF + j, mask=in_rest, other=0.0)
    if HAS_ROPE:
        if is_q | is_k:
            cos = tl.load(cos_ptr + position.to(tl.int64) * HALF + i, mask=in_first, other=0.0)
            sin = tl.load(sin_ptr + position.to(tl.int64) * HALF + i, mask=in_first, other=0.0)
            turned = first * cos - second * sin
            second = second * cos + first * sin
            first = turned
    if IN_PLACE or is_q:
        tl.store(source + i, first.to(qkv_ptr.dtype.element_ty), mask=in_first)
        tl.store(source + HALF + i, second.to(qkv_ptr.dtype.element_ty), mask=in_second)
        tl.store(source + 2 * HALF + j, rest.to(qkv_ptr.dtype.element_ty), mask=in_rest)
    else:
        owner = tl.load(owners_ptr + row)
        page = tl.load(pages_ptr + owner * table_width + position // PAGE_LEN).to(tl.int64)
        kv_head = (head - NUM_Q) % NUM_KV
        token = page * (page_stride // DIM) + kv_head * PAGE_LEN + position % PAGE_LEN
        place = token * DIM
        target = values_ptr + place
        if is_k:
            target = keys_ptr + place
        if HAS_SCALES:
            largest = tl.maximum(tl.max(tl.abs(first)), tl.maximum(tl.max(tl.abs(second)), tl.max(tl.abs(rest))))
            scale = tl.maximum(largest / 127.0, SMALLEST).to(tl.float16)
            scale_target = value_scale_ptr + token
            if is_k:
                scale_target = key_scale_ptr + token
            tl.store(scale_target, scale)
            first, second, rest = _codes(first, scale), _codes(second, scale), _codes(rest, scale)
        tl.store(target + i, first.to(keys_ptr.dtype.element_ty), mask=in_first)
        tl.store(target + HALF + i, second.to(keys_ptr.dtype.element_ty), mask=in_second)
        tl.store(target + 2 * HALF + j, rest.to(keys_ptr.dtype.element_ty), mask=in_rest)


@triton.jit
def _mix(x, GROUPS: tl.constexpr):
    """Hadamard's transform of each row of [GROUPS, 32]: five times sums and differences of neighbours, the index turned."""
    for _ in tl.static_range(5):
        even, odd = tl.split(tl.reshape(x, (GROUPS, 16, 2)))
        x = tl.reshape(tl.permute(tl.join(even + odd, even - odd), (0, 2, 1)), (GROUPS, 32))
    return x * 0.17677669529663687


@triton.jit(do_not_specialize=["table_width"])
def _store_nibbles(
    qkv_ptr, keys_ptr, values_ptr, key_scale_ptr, value_scale_ptr, positions_ptr, owners_ptr, pages_ptr,
    qkv_stride, table_width, page_stride,
    NUM_Q: tl.constexpr, NUM_KV: tl.constexpr, DIM: tl.constexpr, PAGE_LEN: tl.constexpr, SMALLEST: tl.constexpr,
    GROUPS: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    g, i, half = tl.arange(0, GROUPS), tl.arange(0, 32), tl.arange(0, 16)
    there = (g * 32 < DIM)[:, None]
    source = qkv_ptr + row.to(tl.int64) * qkv_stride + head * DIM + g[:, None] * 32 + i[None, :]
    x = tl.load(source, mask=there, other=0.0).to(tl.float32)
    if head < NUM_Q + NUM_KV:
        x = _mix(x, GROUPS)
    if head < NUM_Q:
        tl.store(source, x.to(qkv_ptr.dtype.element_ty), mask=there)
    else:
        most, least = tl.max(x, 1), tl.min(x, 1)
        exact = tl.where(most > -least, most, least) / -8.0
        step = tl.where(tl.abs(exact) < SMALLEST, SMALLEST, exact).to(tl.float16)
        codes = tl.minimum(tl.maximum(tl.floor(x / step.to(tl.float32)[:, None] + 8.5), 0.0), 15.0).to(tl.int32)
        low, high = tl.split(tl.permute(tl.reshape(codes, (GROUPS, 2, 16)), (0, 2, 1)))
        position = tl.load(positions_ptr + row)
        page = tl.load(pages_ptr + tl.load(owners_ptr + row) * table_width + position // PAGE_LEN).to(tl.int64)
        token = page * (page_stride // (DIM // 2)) + (head - NUM_Q) % NUM_KV * PAGE_LEN + position % PAGE_LEN
        target, scale_target = values_ptr, value_scale_ptr
        if head < NUM_Q + NUM_KV:
            target, scale_target = keys_ptr, key_scale_ptr
        place = token * (DIM // 2) + g[:, None] * 16 + half[None, :]
        tl.store(target + place, (low | high << 4).to(tl.uint8), mask=there)
        tl.store(scale_target + token * (DIM // 32) + g, step, mask=g * 32 < DIM)


def store_kv(
    qkv: torch.Tensor,
    pages: Pages,
    inputs: StepInputs,
    heads: Heads,
    norms: HeadNorms,
    rope: tuple[torch.Tensor, torch.Tensor] | None,
) -> None:
    """As `operations.Operations` says."""
    half = heads.dim - heads.dim // 2 if rope is None else rope[0].shape[1]
    cos, sin = (qkv, qkv) if rope is None else rope
    num_heads = heads.num_q + heads.num_kv
    table = inputs.table(pages.is_windowed)
    _store_kv[qkv.shape[0], num_heads if pages.are_nibbles else num_heads + heads.num_kv](
        qkv, *pages.tensors(), cos, sin,
        cos if norms.q is None else norms.q, cos if norms.k is None else norms.k,
        inputs.positions, inputs.owners, table,
        qkv.stride(0), table.shape[1], pages.keys.stride(0), norms.eps,
        NUM_Q=heads.num_q, NUM_KV=heads.num_kv, DIM=heads.dim, PAGE_LEN=pages.keys.shape[2], HALF=half,
        HAS_ROPE=rope is not None, HAS_NORM=norms.q is not None,
        HAS_SCALES=pages.key_scales is not None, SMALLEST=SMALLEST_SCALE, IN_PLACE=pages.are_nibbles,
        BLOCK_HALF=triton.next_power_of_2(half), BLOCK_REST=triton.next_power_of_2(max(1, heads.dim - 2 * half)),
        num_warps=1,
    )  # fmt: skip
    if pages.are_nibbles:
        _store_nibbles[qkv.shape[0], num_heads + heads.num_kv](
            qkv, *pages.tensors(), inputs.positions, inputs.owners, table,
            qkv.stride(0), table.shape[1], pages.keys.stride(0),
            NUM_Q=heads.num_q, NUM_KV=heads.num_kv, DIM=heads.dim, PAGE_LEN=pages.keys.shape[2], SMALLEST=SMALLEST_SCALE,
            GROUPS=triton.next_power_of_2(heads.dim // 32), num_warps=1,
        )  # fmt: skip
