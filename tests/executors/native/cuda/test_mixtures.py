"""Mixtures of experts on the device: kernels and twins against the plain backend, and how places are cut into blocks."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from publican.executors.native.cuda.kernels import TritonOperations
from publican.executors.native.cuda.mixtures import ExpertWeights, Mixture, grouped, together
from publican.executors.native.cuda.operations import Operations
from publican.executors.native.cuda.packing import Packer, dequantise
from publican.executors.native.cuda.twins import TorchOperations
from publican.executors.native.layout import DenseMatrix, stack
from publican.executors.native.layout import dequantise as as_numbers
from publican.executors.native.plain import operations as plain
from publican.executors.native.program import Expert, Experts
from tests.executors.native.cpu import programs

OPERATIONS = pytest.mark.parametrize("operations", [TritonOperations(), TorchOperations()], ids=["kernels", "twins"])
HIDDEN, INNER = 48, 24
ROWS = [("q4", 1), ("q4", 2), ("q4", 21), ("q6", 21), ("ordered", 1), ("ordered", 21), ("f32", 1), ("f32", 21), ("mixed", 7)]
"""What experts are, and how many rows: as many as each kernel is for, and no more than an interpreter can do."""


def op_of(weights: str, shared: bool) -> Experts:
    """Five experts, two for each row."""
    make, rng = getattr(programs, weights), np.random.default_rng(5)
    shapes = (INNER, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)
    experts = tuple(Expert(*(make(rng, *shape) for shape in shapes)) for _ in range(5))
    router, gate = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, HIDDEN), HIDDEN))
    if not shared:
        return Experts("normed", "branch", router, experts, 2, INNER)
    return Experts("normed", "branch", router, experts, 2, INNER, normalised=False, shared="branch", shared_gate=gate)


def on_device(op: Experts, device: torch.device) -> Mixture:
    packer = Packer(device, torch.float32, exact_scales=True)

    def inner(expert: Expert) -> Any:
        both = stack([expert.gate, expert.up])
        return (packer.pack(both),) if both is not None else (packer.pack(expert.gate), packer.pack(expert.up))

    gate = None if op.shared_gate is None else packer.vector(op.shared_gate)
    experts = tuple(ExpertWeights(inner(e), packer.pack(e.down)) for e in op.experts)
    return Mixture(packer.vector(op.router), gate, experts, op.num_chosen, op.ffn_size, op.normalised, op.activation)


def expected_of(op: Experts, x: np.ndarray, shared: np.ndarray) -> np.ndarray:
    dense = [Expert(*(DenseMatrix(as_numbers(m)) for m in (e.gate, e.up, e.down))) for e in op.experts]
    step: Any = SimpleNamespace(buffers={"normed": x, "branch": shared.copy()})
    plain.experts(dataclasses.replace(op, experts=dense), step)
    return np.asarray(step.buffers["branch"])


@OPERATIONS
@pytest.mark.parametrize(("weights", "num_rows"), ROWS)
def test_equals_plain(operations: Operations, weights: str, num_rows: int, device: torch.device) -> None:
    """`ordered` has two segments and an order of inputs for each expert; of `mixed` no two experts need be cut alike."""
    rng = np.random.default_rng(num_rows)
    op = op_of(weights, shared=num_rows != 2)
    x, shared = (rng.standard_normal((num_rows, HIDDEN)).astype(np.float32) for _ in range(2))
    mixture = together(on_device(op, device))
    assert (mixture.down is None) == (weights == "mixed")
    dst = torch.from_numpy(shared.copy()).to(device) if op.shared else torch.full((num_rows, HIDDEN), torch.nan, device=device)
    operations.experts(torch.from_numpy(x).to(device), mixture, dst if op.shared else None, dst)
    expected = expected_of(op, x, shared)
    np.testing.assert_allclose(dst.cpu(), expected, rtol=0, atol=2e-5 * max(1.0, np.abs(expected).max()))


def test_experts_that_lie_together_are_those_that_came(device: torch.device) -> None:
    for weights in ("q4", "q6", "ordered", "f32"):
        apart = on_device(op_of(weights, shared=False), device)
        joined = together(apart)
        for before, after in zip(apart.experts, joined.experts, strict=True):
            for one, other in zip((*before.inner, before.down), (*after.inner, after.down), strict=True):
                if weights == "f32":
                    assert torch.equal(one.values, other.values)  # type: ignore[union-attr]
                else:
                    assert torch.equal(dequantise(one), dequantise(other))  # type: ignore[arg-type]


@OPERATIONS
def test_equal_scores_choose_the_lower_number(operations: Operations, device: torch.device) -> None:
    op = op_of("f32", shared=False)
    op = dataclasses.replace(op, router=np.zeros_like(op.router))
    x = np.random.default_rng(0).standard_normal((5, HIDDEN)).astype(np.float32)
    dst = torch.full((5, HIDDEN), torch.nan, device=device)
    operations.experts(torch.from_numpy(x).to(device), together(on_device(op, device)), None, dst)
    np.testing.assert_allclose(dst.cpu(), expected_of(op, x, x), rtol=0, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=70), st.sampled_from([1, 4, 16]))
def test_blocks_hold_every_place_once(owners: list[int], block_len: int) -> None:
    groups = grouped(torch.tensor(owners), 9, block_len)
    assert len(groups.blocks) == min(len(owners), len(owners) // block_len + 9)  # whatever was chosen
    seen = []
    for expert, first, count in groups.blocks.tolist():
        assert 0 <= count <= block_len
        places = groups.order[first : first + count].tolist()
        assert all(owners[place] == expert for place in places)
        seen += places
    assert sorted(seen) == list(range(len(owners)))
