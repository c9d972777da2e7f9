"""Mixtures of experts on a device: their weights, which experts each row goes through, and how what they give is added up.

Experts whose weights are cut alike lie in one tensor, one after another, so that one launch computes all that are wanted.
Everything here is plain torch that waits for nothing, so that it may be captured in a graph. Engine thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from publican.executors.native.cuda.packing import DenseWeight, PackedMatrix, PackedSegment, Weight


@dataclass(frozen=True, slots=True, eq=False)
class ExpertWeights:
    """Of one expert. `inner`: gate and, behind it, up, [2 F, K] in one matrix, or [F, K] each."""

    inner: tuple[Weight, ...]
    down: Weight


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A matrix of every expert, as one.

    Attributes:
        weight: the outputs of expert 0, then those of expert 1, …; without an order of inputs.
        orders: int64 [E, inputs], the orders of their inputs, as `PackedMatrix.order` is; None where there are none.
        num_outputs: of each.
    """

    weight: Weight
    orders: torch.Tensor | None
    num_outputs: int

    def of(self, expert: int) -> Weight:
        """The matrix of one expert, in the same memory."""
        rows = slice(expert * self.num_outputs, (expert + 1) * self.num_outputs)
        if isinstance(self.weight, DenseWeight):
            return DenseWeight(self.weight.values[rows])
        order = None if self.orders is None else self.orders[expert].int()
        segments = tuple(
            replace(s, low=s.low[rows], high=s.high[rows], scales=s.scales[rows], offsets=s.offsets[rows])
            for s in self.weight.segments
        )
        return replace(self.weight, segments=segments, order=order, num_outputs=self.num_outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """What `program.Experts` has, on a device.

    Attributes:
        router: float32 [E, K]; shared_gate: float32 [K], or None.
        experts: one by one; inner, down: all of them, the former as `ExpertWeights` has it, in the same memory. Without
            those, experts are cut differently.
        ffn_size: F, outputs of an expert's gate.
    """

    router: torch.Tensor
    shared_gate: torch.Tensor | None
    experts: tuple[ExpertWeights, ...]
    num_chosen: int
    ffn_size: int
    normalised: bool
    activation: str
    inner: tuple[Stack, ...] = ()
    down: Stack | None = None


def route(x: torch.Tensor, mixture: Mixture) -> tuple[torch.Tensor, torch.Tensor]:
    """The experts of each row, the likeliest first and the lower number first among equals, and their weights; [M, chosen]."""
    p = (x.float() @ mixture.router.T).softmax(-1)
    best, experts = torch.sort(p, dim=-1, descending=True, stable=True)  # `topk` promises nothing of equals
    weights, experts = best[:, : mixture.num_chosen], experts[:, : mixture.num_chosen]
    return experts, weights / weights.sum(-1, keepdim=True) if mixture.normalised else weights


def combine(
    given: torch.Tensor, weights: torch.Tensor, x: torch.Tensor, mixture: Mixture, shared: torch.Tensor | None
) -> torch.Tensor:
    """Float32 [M, width]: `given` [M, chosen, width] weighted and added in that order, and the expert of all rows."""
    total = torch.zeros_like(given[:, 0])
    for i in range(mixture.num_chosen):
        total = torch.addcmul(total, given[:, i], weights[:, i, None])
    if mixture.shared_gate is not None and shared is not None:
        total += torch.sigmoid(x.float() @ mixture.shared_gate)[:, None] * shared.float()
    return total


def together(mixture: Mixture) -> Mixture:
    """The same with experts in one tensor each for gate and up and for down, where they are cut alike."""
    experts = mixture.experts
    inner = [stacked([expert.inner[i] for expert in experts]) for i in range(len(experts[0].inner))] if _alike(experts) else []
    down = stacked([expert.down for expert in experts])
    found = tuple(each for each in inner if each is not None)
    if down is None or not found or len(found) < len(inner):
        return mixture
    views = tuple(ExpertWeights(tuple(each.of(e) for each in found), down.of(e)) for e in range(len(experts)))
    return replace(mixture, experts=views, inner=found, down=down)


def _alike(experts: Sequence[ExpertWeights]) -> bool:
    return all(len(expert.inner) == len(experts[0].inner) for expert in experts)


def stacked(weights: Sequence[Weight]) -> Stack | None:
    """Matrices of one shape in one tensor; None where they are cut differently."""
    first = weights[0]
    if isinstance(first, DenseWeight):
        dense = [w.values for w in weights if isinstance(w, DenseWeight)]
        return Stack(DenseWeight(torch.cat(dense)), None, first.num_outputs) if len(dense) == len(weights) else None
    packed = [w for w in weights if isinstance(w, PackedMatrix) and _cut(w) == _cut(first)]
    if len(packed) < len(weights):
        return None
    segments = tuple(_joined([w.segments[i] for w in packed]) for i in range(len(first.segments)))
    orders = [w.order.long() for w in packed if w.order is not None]
    whole = replace(first, segments=segments, order=None, num_outputs=sum(w.num_outputs for w in packed))
    return Stack(whole, torch.stack(orders) if orders else None, first.num_outputs)


def _cut(matrix: PackedMatrix) -> object:
    """What must agree."""
    segments = [(s.low_bits, s.high_bits, s.first_input, s.num_inputs, s.group_len) for s in matrix.segments]
    return matrix.num_outputs, matrix.num_inputs, None if matrix.order is None else len(matrix.order), segments


def _joined(parts: Sequence[PackedSegment]) -> PackedSegment:
    low = torch.cat([part.low for part in parts])
    high = torch.cat([part.high for part in parts]) if parts[0].high_bits else low
    exact = any(torch.float32 in (part.scales.dtype, part.offsets.dtype) for part in parts)
    scales, offsets = (torch.cat([getattr(part, name) for part in parts]) for name in ("scales", "offsets"))
    if exact:
        scales, offsets = scales.float(), offsets.float()
    return replace(parts[0], low=low, high=high, scales=scales, offsets=offsets)


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Places (a row in one of its experts) in the order of their experts, and cut into blocks of one expert each.

    Attributes:
        order: int64 [P]; which place, counted row by row, each sorted one is.
        blocks: int32 [B, 3]; the expert, the first sorted place and the number of places of each block. B follows from the
            shapes alone; blocks that are not needed have no places.
    """

    order: torch.Tensor
    blocks: torch.Tensor


def grouped(owners: torch.Tensor, num_experts: int, block_len: int) -> Groups:
    """Of the expert [P] of each place."""
    sorted_owners, order = torch.sort(owners, stable=True)
    numbers = torch.arange(num_experts + 1, device=owners.device)
    starts = torch.searchsorted(sorted_owners, numbers)
    num_blocks = (starts.diff() + block_len - 1) // block_len
    ends = num_blocks.cumsum(0)
    most = min(len(owners), len(owners) // block_len + num_experts)
    block = torch.arange(most, device=owners.device)
    expert = torch.searchsorted(ends, block, right=True).clamp_max(num_experts - 1)
    first = starts[expert] + (block - (ends - num_blocks)[expert]) * block_len
    count = (starts[expert + 1] - first).clamp(0, block_len)
    count = torch.where(block < ends[-1], count, 0)
    return Groups(order, torch.stack([expert, first, count], 1).int())
