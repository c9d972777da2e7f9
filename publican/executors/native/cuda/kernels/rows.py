# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,misc"
"""Small kernels that go through rows once: norms, the residual stream, gates, gathers. What they save is launches."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from publican.executors.native.cuda.operations import RowNorm

_BLOCK = 1024


@triton.jit
def _norm(src_ptr, weight_ptr, dst_ptr, src_stride, dst_stride, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    x = tl.load(src_ptr + row * src_stride + i, mask=i < width, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + i, mask=i < width, other=0.0)
    y = x * (1.0 / tl.sqrt(tl.sum(x * x) / width + eps)) * weight
    tl.store(dst_ptr + row * dst_stride + i, y.to(dst_ptr.dtype.element_ty), mask=i < width)


def norm(src: torch.Tensor, to: RowNorm) -> None:
    """to.dst = RMSNorm(src); the two may be the same."""
    width = src.shape[1]
    block = triton.next_power_of_2(width)
    _norm[(src.shape[0],)](
        src, to.weight, to.dst, src.stride(0), to.dst.stride(0), width, to.eps, BLOCK=block, num_warps=_num_warps(block)
    )


@triton.jit(do_not_specialize=["num_parts", "part_stride"])
def _add(
    y_ptr, bias_ptr, residual_ptr, weight_ptr, dst_ptr,
    num_parts, part_stride, y_stride, residual_stride, dst_stride, width, scale, eps,
    HAS_BIAS: tl.constexpr, HAS_NORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < width
    y = tl.zeros((BLOCK,), tl.float32)
    for part in range(num_parts):
        y += tl.load(y_ptr + part * part_stride + row * y_stride + i, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        y += tl.load(bias_ptr + i, mask=inside, other=0.0)
    x = tl.load(residual_ptr + row * residual_stride + i, mask=inside, other=0.0) + scale * y
    tl.store(residual_ptr + row * residual_stride + i, x, mask=inside)
    if HAS_NORM:
        weight = tl.load(weight_ptr + i, mask=inside, other=0.0)
        normed = x * (1.0 / tl.sqrt(tl.sum(x * x) / width + eps)) * weight
        tl.store(dst_ptr + row * dst_stride + i, normed.to(dst_ptr.dtype.element_ty), mask=inside)


def add(y: torch.Tensor, bias: torch.Tensor | None, scale: float, residual: torch.Tensor, to: RowNorm | None) -> None:
    """residual += scale · (Σ_p y[p] + bias), and the norm of that."""
    num_parts, num_rows, width = y.shape
    block = triton.next_power_of_2(width)
    weight, dst = (residual, residual) if to is None else (to.weight, to.dst)
    _add[(num_rows,)](
        y, y if bias is None else bias, residual, weight, dst,
        num_parts, y.stride(0), y.stride(1), residual.stride(0), dst.stride(0), width, scale, 0.0 if to is None else to.eps,
        HAS_BIAS=bias is not None, HAS_NORM=to is not None, BLOCK=block, num_warps=_num_warps(block),
    )  # fmt: skip


@triton.jit(do_not_specialize=["num_parts", "part_stride"])
def _collect(
    y_ptr, bias_ptr, dst_ptr, num_parts, part_stride, y_stride, dst_stride, width,
    HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    y = tl.zeros((BLOCK,), tl.float32)
    for part in range(num_parts):
        y += tl.load(y_ptr + part * part_stride + row * y_stride + i, mask=i < width, other=0.0).to(tl.float32)
    if HAS_BIAS:
        y += tl.load(bias_ptr + i, mask=i < width, other=0.0)
    tl.store(dst_ptr + row * dst_stride + i, y.to(dst_ptr.dtype.element_ty), mask=i < width)


def collect(y: torch.Tensor, bias: torch.Tensor | None, dst: torch.Tensor) -> None:
    """dst [M, N] = Σ_p y[p] + bias"""
    num_parts, num_rows, width = y.shape
    _collect[num_rows, triton.cdiv(width, _BLOCK)](
        y, y if bias is None else bias, dst, num_parts, y.stride(0), y.stride(1), dst.stride(0), width,
        HAS_BIAS=bias is not None, BLOCK=_BLOCK,
    )  # fmt: skip


@triton.jit
def _gate(src_ptr, dst_ptr, src_stride, dst_stride, width, GELU: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(src_ptr + row * src_stride + i, mask=i < width, other=0.0).to(tl.float32)
    up = tl.load(src_ptr + row * src_stride + width + i, mask=i < width, other=0.0).to(tl.float32)
    if GELU:  # 0.5 · (1 + tanh(z)) is a logistic function of 2 z
        gate *= tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
    else:
        gate *= tl.sigmoid(gate)
    tl.store(dst_ptr + row * dst_stride + i, (gate * up).to(dst_ptr.dtype.element_ty), mask=i < width)


def gate(gate_up: torch.Tensor, activation: str, dst: torch.Tensor) -> None:
    """dst [M, N] = activation(gate_up[:, :N]) · gate_up[:, N:]"""
    num_rows, width = dst.shape
    _gate[num_rows, triton.cdiv(width, _BLOCK)](
        gate_up, dst, gate_up.stride(0), dst.stride(0), width, GELU=activation != "silu", BLOCK=_BLOCK
    )


@triton.jit
def _gather(x_ptr, order_ptr, y_ptr, x_stride, num_inputs, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    source = tl.load(order_ptr + i, mask=i < width, other=num_inputs)
    x = tl.load(x_ptr + row * x_stride + source, mask=source < num_inputs, other=0.0)
    tl.store(y_ptr + row * width + i, x, mask=i < width)


def gather(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """x[:, order] with zeros for places beyond its end."""
    num_rows, width = x.shape[0], len(order)
    y = x.new_empty((num_rows, width))
    _gather[num_rows, triton.cdiv(width, _BLOCK)](x, order, y, x.stride(0), x.shape[1], width, BLOCK=_BLOCK)
    return y


def _num_warps(block: int) -> int:
    return min(16, max(1, block // 512))
