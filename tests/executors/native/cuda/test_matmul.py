"""Kernels on quantised weights against float64: every width, groups shorter and longer than a chunk, poisoned outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
import triton
import triton.language as tl

from publican.executors.native import layout
from publican.executors.native.cuda.kernels import GEMM_ROWS, TritonOperations
from publican.executors.native.cuda.kernels.dequantise import dequantise_segment
from publican.executors.native.cuda.kernels.gemm import gemm, num_splits, operand
from publican.executors.native.cuda.kernels.gemv import gemv
from publican.executors.native.cuda.operations import Operations
from publican.executors.native.cuda.packing import PackedMatrix, PackedSegment, Packer
from publican.executors.native.cuda.twins import TorchOperations
from publican.executors.native.layout import DenseMatrix, QuantizedMatrix
from tests.executors.native.cuda.random_weights import random_quantised

CASES = [(bits, group, 288) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 128)]
CASES += [(4, 16, 100), (4, 288, 288), (4, 64, 2304), (8, 48, 96), (3, 16, 520)]


def make(
    cuts: list[tuple[int, int, int]],
    device: torch.device,
    n: int = 21,
    dtype: torch.dtype = torch.float32,
    ordered: bool = False,
) -> tuple[QuantizedMatrix, PackedMatrix]:
    matrix = random_quantised(np.random.default_rng(len(cuts) + n), n, cuts, ordered)
    weight = Packer(device, dtype, True).pack(matrix)
    assert isinstance(weight, PackedMatrix)
    return matrix, weight


def activations(rows: int, width: int, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    values = np.random.default_rng(rows).standard_normal((rows, width)).astype(np.float32)
    return torch.from_numpy(values).to(dtype).to(device)


def poisoned(*shape: int, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full(shape, torch.nan, dtype=dtype, device=device)


def wide(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def far(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def only(weight: PackedMatrix) -> PackedSegment:
    (segment,) = weight.segments
    return segment


@pytest.mark.parametrize(("bits", "group_len", "num_inputs"), CASES)
def test_gemv(bits: int, group_len: int, num_inputs: int, device: torch.device) -> None:
    matrix, weight = make([(bits, group_len, num_inputs)], device)
    x, bias, y = activations(2, num_inputs, device), activations(1, 21, device)[0], poisoned(2, 30, device=device)
    gemv(x, only(weight), bias, y[:, :21])
    expected = wide(x) @ layout.dequantise(matrix).astype(np.float64).T + wide(bias)
    assert far(wide(y[:, :21]), expected) < 3e-6
    assert torch.isnan(y[:, 21:]).all()


@pytest.mark.parametrize(("bits", "group_len", "num_inputs"), CASES)
def test_gemm(bits: int, group_len: int, num_inputs: int, device: torch.device) -> None:
    matrix, weight = make([(bits, group_len, num_inputs)], device)
    x = activations(5, num_inputs, device)
    y = poisoned(num_splits(only(weight), 5), 5, 21, device=device)
    gemm(x, only(weight), y)
    expected = wide(x) @ layout.dequantise(matrix).astype(np.float64).T
    assert far(wide(y).sum(0), expected) < 3e-6


def test_gemm_splits_inputs_among_programs(device: torch.device) -> None:
    matrix, weight = make([(4, 128, 2304)], device)
    assert num_splits(only(weight), 5) == 5
    x = activations(5, 2304, device)
    for count in (1, 2, 7, 18):
        y = poisoned(count, 5, 21, device=device)
        gemm(x, only(weight), y)
        assert far(wide(y).sum(0), wide(x) @ layout.dequantise(matrix).astype(np.float64).T) < 3e-6


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_activations_of_half_width(bits: int, dtype: torch.dtype, device: torch.device) -> None:
    """The products of codes and activations are exact, and added up in float32."""
    if dtype == torch.bfloat16 and device.type == "cpu":
        pytest.skip("Triton's interpreter multiplies the bits of bfloat16, not its values")
    matrix, weight = make([(bits, 64, 320)], device)
    expected = layout.dequantise(matrix).astype(np.float64)
    for rows in (1, 17):
        x = activations(rows, 320, device, dtype)
        y = TritonOperations().partials(x, weight)
        assert y.dtype == torch.float32
        assert far(wide(y).sum(0), wide(x) @ expected.T) < 2e-5


@triton.jit
def _operands(codes_ptr, out_ptr, BITS: tl.constexpr, DTYPE: tl.constexpr):  # type: ignore[no-untyped-def]
    i = tl.arange(0, 64)
    tl.store(out_ptr + i, operand(tl.load(codes_ptr + i), BITS, DTYPE))


@pytest.mark.parametrize(("bits", "dtype", "raised"), [(6, tl.bfloat16, 128), (8, tl.bfloat16, 0), (6, tl.float16, 0)])
def test_operands_are_exact(bits: int, dtype: tl.dtype, raised: int, device: torch.device) -> None:
    codes = torch.arange(64, dtype=torch.int32, device=device) << (bits - 6)
    out = torch.empty(64, dtype=torch.float16 if dtype == tl.float16 else torch.bfloat16, device=device)
    _operands[(1,)](codes, out, bits, dtype)
    assert (out.int() - raised).tolist() == codes.tolist()


@pytest.mark.parametrize(("bits", "group_len", "num_inputs"), CASES)
def test_dequantise(bits: int, group_len: int, num_inputs: int, device: torch.device) -> None:
    matrix, weight = make([(bits, group_len, num_inputs)], device, n=37)
    out = poisoned(37, num_inputs, device=device)
    dequantise_segment(only(weight), out)
    expected = layout.dequantise(matrix)
    np.testing.assert_allclose(out.cpu(), expected, rtol=1e-6, atol=1e-7)
    rows = torch.tensor([36, 0, 5], dtype=torch.int32, device=device)
    some = poisoned(3, num_inputs, device=device)
    dequantise_segment(only(weight), some, rows, 2.5)
    np.testing.assert_allclose(some.cpu(), 2.5 * expected[[36, 0, 5]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 3, GEMM_ROWS + 3])
@pytest.mark.parametrize("operations", [TritonOperations(), TorchOperations()])
def test_several_widths_in_an_order_of_their_own(operations: Operations, rows: int, device: torch.device) -> None:
    """As EXL2 has it, with a group that is no multiple of 16 besides; and a linear layer's bias and its place."""
    matrix, weight = make([(6, 32, 64), (4, 32, 96), (3, 20, 60)], device, ordered=True)
    x, bias, dst = activations(rows, 220, device), activations(1, 21, device)[0], poisoned(rows, 40, device=device)
    operations.linear(x, weight, bias, dst[:, 8:29])
    expected = wide(x) @ layout.dequantise(matrix).astype(np.float64).T
    assert far(wide(dst[:, 8:29]), expected + wide(bias)) < 3e-6
    assert int(torch.isnan(dst).sum()) == rows * 19
    assert far(wide(operations.partials(x, weight)).sum(0), expected) < 3e-6


@pytest.mark.parametrize("operations", [TritonOperations(), TorchOperations()])
@pytest.mark.parametrize("quantised", [False, True])
def test_embedding(operations: Operations, quantised: bool, device: torch.device) -> None:
    rng = np.random.default_rng(0)
    matrix = random_quantised(rng, 30, [(6, 16, 70)]) if quantised else DenseMatrix(rng.normal(size=(30, 70)).astype("f4"))
    tokens = torch.tensor([29, 0, 3, 3], dtype=torch.int32, device=device)
    dst = poisoned(4, 70, device=device)
    operations.embed(Packer(device, torch.float32, True).pack(matrix), tokens, 4.0, dst)
    np.testing.assert_allclose(dst.cpu(), 4.0 * layout.dequantise(matrix)[[29, 0, 3, 3]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("operations", [TritonOperations(), TorchOperations()])
def test_dense_weights(operations: Operations, device: torch.device) -> None:
    values = np.random.default_rng(0).normal(size=(9, 70)).astype(np.float32)
    weight = Packer(device, torch.float32, True).pack(DenseMatrix(values))
    x, bias, dst = activations(3, 70, device), activations(1, 9, device)[0], poisoned(3, 9, device=device)
    operations.linear(x, weight, bias, dst)
    assert far(wide(dst), wide(x) @ values.astype(np.float64).T + wide(bias)) < 3e-6
