"""`TritonOperations`: the operations as kernels, and which kernel for how many rows.

    1, 2 rows       gemv          up to 64    gemm, on the matrix units        more    dequantise, then cuBLAS

Dense weights go to cuBLAS. Nothing here needs a compiler but Triton's own.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from publican.executors.native.cuda.kernels import attention, rows
from publican.executors.native.cuda.kernels.dequantise import dequantise_segment
from publican.executors.native.cuda.kernels.experts import mix_experts
from publican.executors.native.cuda.kernels.gemm import gemm, num_splits
from publican.executors.native.cuda.kernels.gemv import gemv
from publican.executors.native.cuda.kernels.store_kv import store_kv
from publican.executors.native.cuda.mixtures import Mixture
from publican.executors.native.cuda.one_by_one import experts_one_by_one
from publican.executors.native.cuda.operations import RowNorm
from publican.executors.native.cuda.packing import DenseWeight, PackedMatrix, Weight, dequantise

GEMV_ROWS = 2
GEMM_ROWS = 64


class TritonOperations:
    """Follows `operations.Operations`."""

    block_sizes = staticmethod(attention.block_rows)
    gate = staticmethod(rows.gate)
    store_kv = staticmethod(store_kv)
    attend = staticmethod(attention.attend)

    def embed(self, table: Weight, tokens: torch.Tensor, scale: float, dst: torch.Tensor) -> None:
        if isinstance(table, DenseWeight):
            dst.copy_(table.values.index_select(0, tokens))
            if scale != 1.0:
                dst.mul_(scale)
        elif table.order is None:
            for segment in table.segments:
                columns = slice(segment.first_input, segment.first_input + segment.num_inputs)
                dequantise_segment(segment, dst[:, columns], tokens, scale)
        else:
            dst.copy_(dequantise(table, tokens.long()) * scale)  # no format has such a table

    def norm(self, src: torch.Tensor, norm: RowNorm) -> None:
        rows.norm(src, norm)

    def linear(self, x: torch.Tensor, weight: Weight, bias: torch.Tensor | None, dst: torch.Tensor) -> None:
        if isinstance(weight, PackedMatrix) and len(x) <= GEMV_ROWS and len(weight.segments) == 1:
            gemv(_ordered(x, weight), weight.segments[0], bias, dst)
        elif isinstance(weight, DenseWeight) and dst.dtype != x.dtype and x.is_cuda:
            wide = torch.mm(x, weight.values.t(), out_dtype=dst.dtype)  # logits are not rounded to the activations' type
            rows.collect(wide[None], bias, dst)
        else:
            rows.collect(self.partials(x, weight), bias, dst)

    def partials(self, x: torch.Tensor, weight: Weight) -> torch.Tensor:
        if isinstance(weight, DenseWeight):
            return functional.linear(x, weight.values)[None]
        x = _ordered(x, weight)
        if len(x) > GEMM_ROWS:
            return functional.linear(x, _plain(x, weight))[None]
        counts = [num_splits(each, len(x)) if len(x) > GEMV_ROWS else 1 for each in weight.segments]
        y = torch.empty((sum(counts), len(x), weight.num_outputs), dtype=torch.float32, device=x.device)
        for segment, part in zip(weight.segments, torch.split(y, counts), strict=True):
            own = x[:, segment.first_input : segment.first_input + segment.num_inputs]
            if len(x) > GEMV_ROWS:
                gemm(own, segment, part)
            else:
                gemv(own, segment, None, part[0])
        return y

    def add(
        self, y: torch.Tensor, bias: torch.Tensor | None, scale: float, residual: torch.Tensor, norm: RowNorm | None
    ) -> None:
        rows.add(y, bias, scale, residual, norm)

    def experts(self, x: torch.Tensor, mixture: Mixture, shared: torch.Tensor | None, dst: torch.Tensor) -> None:
        if mixture.down is None:
            experts_one_by_one(self, x, mixture, shared, dst)
        else:
            mix_experts(x, mixture, shared, dst)


def _ordered(x: torch.Tensor, weight: PackedMatrix) -> torch.Tensor:
    """The activations in the order of the packed inputs."""
    return x if weight.order is None else rows.gather(x, weight.order)


def _plain(x: torch.Tensor, weight: PackedMatrix) -> torch.Tensor:
    """The weight in the activations' type and in its own order of inputs, in scratch memory."""
    values = torch.empty((weight.num_outputs, x.shape[1]), dtype=x.dtype, device=x.device)
    for segment in weight.segments:
        dequantise_segment(segment, values[:, segment.first_input : segment.first_input + segment.num_inputs])
    return values
