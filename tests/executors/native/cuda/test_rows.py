"""The small kernels, and their twins, against float64: poisoned outputs, rows with strides, widths that fill no block."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from publican.executors.native.cuda.kernels import TritonOperations
from publican.executors.native.cuda.operations import Operations, RowNorm
from publican.executors.native.cuda.twins import TorchOperations

OPERATIONS = pytest.mark.parametrize("operations", [TritonOperations(), TorchOperations()], ids=["kernels", "twins"])


def random(*shape: int, device: torch.device, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).to(device)


def wide(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def normed(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return np.asarray(x / np.sqrt((x * x).mean(1, keepdims=True) + eps) * weight)


@OPERATIONS
@pytest.mark.parametrize("width", [1, 70, 1100])
def test_norm(operations: Operations, width: int, device: torch.device) -> None:
    src, weight = random(3, width + 5, device=device)[:, 2 : width + 2], random(width, device=device, seed=1)
    dst = torch.full((3, width + 3), torch.nan, device=device)
    operations.norm(src, RowNorm(weight, 1e-3, dst[:, :width]))
    np.testing.assert_allclose(dst[:, :width].cpu(), normed(wide(src), wide(weight), 1e-3), rtol=1e-5, atol=1e-6)
    assert torch.isnan(dst[:, width:]).all()
    expected = normed(wide(src), wide(weight), 1e-3)
    operations.norm(src, RowNorm(weight, 1e-3, src))
    np.testing.assert_allclose(src.cpu(), expected, rtol=1e-5, atol=1e-6)


@OPERATIONS
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_norm", [False, True])
def test_add(operations: Operations, has_bias: bool, has_norm: bool, device: torch.device) -> None:
    parts, residual = random(3, 4, 70, device=device), random(4, 70, device=device, seed=1)
    bias, weight = random(70, device=device, seed=2), random(70, device=device, seed=3)
    dst = torch.full((4, 70), torch.nan, device=device)
    expected = wide(residual) + 0.7 * (wide(parts).sum(0) + has_bias * wide(bias))
    norm = RowNorm(weight, 1e-5, dst) if has_norm else None
    operations.add(parts, bias if has_bias else None, 0.7, residual, norm)
    np.testing.assert_allclose(residual.cpu(), expected, rtol=1e-5, atol=1e-5)
    if has_norm:
        np.testing.assert_allclose(dst.cpu(), normed(expected, wide(weight), 1e-5), rtol=1e-4, atol=1e-5)
    else:
        assert torch.isnan(dst).all()


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # the interpreter's, where zero comes of it
@OPERATIONS
@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
@pytest.mark.parametrize("width", [7, 1030])
def test_gate(operations: Operations, activation: str, width: int, device: torch.device) -> None:
    both = 3 * random(2, 2 * width, device=device)
    both[0, :3] = torch.tensor([-200.0, 0.0, 200.0])
    dst = torch.full((2, width), torch.nan, device=device)
    operations.gate(both, activation, dst)
    g, up = wide(both)[:, :width], wide(both)[:, width:]
    with np.errstate(over="ignore"):
        silu = g / (1 + np.exp(-g))
    gelu = 0.5 * g * (1 + np.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g**3)))
    np.testing.assert_allclose(dst.cpu(), (silu if activation == "silu" else gelu) * up, rtol=1e-4, atol=1e-5)
