"""Mixtures of experts on a device: their weights, which experts each row goes through, and how what they give is added up.

Plain torch that waits for nothing, so that it may be captured in a graph. Engine thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from publican.executors.native.cuda.packing import Weight


@dataclass(frozen=True, slots=True, eq=False)
class ExpertWeights:
    """Of one expert. `inner`: gate and, behind it, up, [2 F, K] in one matrix, or [F, K] each."""

    inner: tuple[Weight, ...]
    down: Weight


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """What `program.Experts` has, on a device.

    Attributes:
        router: float32 [E, K]; shared_gate: float32 [K], or None.
        ffn_size: F, outputs of an expert's gate.
    """

    router: torch.Tensor
    shared_gate: torch.Tensor | None
    experts: tuple[ExpertWeights, ...]
    num_chosen: int
    ffn_size: int
    normalised: bool
    activation: str


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
