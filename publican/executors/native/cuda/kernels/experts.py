# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,misc"
"""Mixtures of experts in a handful of launches, whatever was chosen: every shape follows from the number of rows.

1, 2 rows    gemv, each place (a row in one of its experts) with its expert's weights
more         places are sorted by expert, and blocks of one expert go to the matrix units
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from publican.executors.native.cuda.kernels import rows
from publican.executors.native.cuda.kernels.gemm import gemm_of_experts
from publican.executors.native.cuda.kernels.gemv import gemv
from publican.executors.native.cuda.mixtures import Groups, Mixture, Stack, combine, grouped, route
from publican.executors.native.cuda.packing import DenseWeight

_FEW_ROWS = 2
_FEWEST, _MOST = 16, 64
_BLOCK_N, _BLOCK_K = 64, 64


def mix_experts(x: torch.Tensor, mixture: Mixture, shared: torch.Tensor | None, dst: torch.Tensor) -> None:
    """dst [M, K] = the mixture of x [M, K]; its experts lie together (`Mixture.down`)."""
    assert mixture.down is not None
    chosen, weights = route(x, mixture)
    owners = chosen.reshape(-1)
    num_places, num_experts = len(owners), len(mixture.experts)
    block_len = min(_MOST, max(_FEWEST, triton.next_power_of_2(num_places // num_experts)))
    is_dense = isinstance(mixture.down.weight, DenseWeight) or isinstance(mixture.inner[0].weight, DenseWeight)
    few = len(x) <= _FEW_ROWS and not is_dense
    groups = None if few else grouped(owners, num_experts, block_len)
    places = torch.arange(num_places, device=x.device) if groups is None else groups.order
    own = owners[places]
    both = x.new_empty((num_places, 2 * mixture.ffn_size), dtype=torch.float32)
    _products(x[places // mixture.num_chosen], mixture.inner, own, groups, block_len, both)
    inner = x.new_empty((num_places, mixture.ffn_size))
    rows.gate(both, mixture.activation, inner)
    given = x.new_empty((num_places, dst.shape[1]), dtype=torch.float32)
    _products(inner, (mixture.down,), own, groups, block_len, given)
    if groups is not None:
        back = torch.empty_like(groups.order)
        back[groups.order] = torch.arange(num_places, device=x.device)
        given = given[back]
    dst.copy_(combine(given.view(*chosen.shape, -1), weights, x, mixture, shared))


def _products(
    x: torch.Tensor,
    stacks: tuple[Stack, ...],
    owners: torch.Tensor,
    groups: Groups | None,
    block_len: int,
    y: torch.Tensor,
) -> None:
    """y [P, N] = of each row of x the outputs of its own expert, those of several stacks side by side."""
    column = 0
    for stack in stacks:
        part = y if len(stacks) == 1 else y.new_empty((len(x), stack.num_outputs))
        _product(x, stack, owners, groups, block_len, part)
        if len(stacks) > 1:
            y[:, column : column + stack.num_outputs] = part
            column += stack.num_outputs


def _product(
    x: torch.Tensor, stack: Stack, owners: torch.Tensor, groups: Groups | None, block_len: int, y: torch.Tensor
) -> None:
    weight = stack.weight
    if isinstance(weight, DenseWeight):
        assert groups is not None
        _dense_of_experts(x, weight, groups.blocks, block_len, y)
        return
    if stack.orders is not None:
        padded = torch.nn.functional.pad(x, (0, 1))  # places beyond its end are zeros
        x = padded.gather(1, stack.orders[owners])
    for number, segment in enumerate(weight.segments):
        part = y if number == 0 else torch.empty_like(y)
        own = x[:, segment.first_input : segment.first_input + segment.num_inputs]
        if groups is None:
            gemv(own, segment, None, part, owners)
        else:
            gemm_of_experts(own, segment, groups.blocks, block_len, part)
        if number:
            y += part


@triton.jit(do_not_specialize=["num_rows"])
def _grouped(
    x_ptr, w_ptr, block_ptr, y_ptr, x_stride, num_outputs, num_inputs, num_rows,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    block = block_ptr + tl.program_id(1) * 3
    own = n.to(tl.int64) + tl.load(block).to(tl.int64) * num_outputs
    count = tl.load(block + 2)
    m = tl.load(block + 1).to(tl.int64) + tl.arange(0, BLOCK_M)
    here = tl.arange(0, BLOCK_M) < count
    total = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    last = tl.where(count > 0, num_inputs, 0)
    for first in range(0, last, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        inside = k < num_inputs
        w = tl.load(
            w_ptr + own[:, None] * num_inputs + k[None, :], mask=(n < num_outputs)[:, None] & inside[None, :], other=0.0
        )
        x = tl.load(x_ptr + m[None, :] * x_stride + k[:, None], mask=inside[:, None] & here[None, :], other=0.0)
        total = tl.dot(w, x, total, input_precision="ieee")
    place = m[None, :] * num_outputs + n[:, None]
    tl.store(y_ptr + place, total, mask=(n < num_outputs)[:, None] & here[None, :])


def _dense_of_experts(x: torch.Tensor, weight: DenseWeight, blocks: torch.Tensor, block_len: int, y: torch.Tensor) -> None:
    """As `gemm_of_experts`, for weights that are not quantised."""
    num_outputs = y.shape[1]
    _grouped[triton.cdiv(num_outputs, _BLOCK_N), len(blocks)](
        x, weight.values, blocks, y, x.stride(0), num_outputs, weight.num_inputs, len(x),
        BLOCK_N=_BLOCK_N, BLOCK_M=block_len, BLOCK_K=_BLOCK_K, num_warps=4, num_stages=3,
    )  # fmt: skip
