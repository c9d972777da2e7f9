"""A mixture of experts one expert after another, each by the operations for linear layers. For any weights and any device.

Which experts have rows is asked of the device, and so waited for: a step that does this cannot be captured in a graph.
"""

from __future__ import annotations

import torch

from publican.executors.native.cuda.mixtures import ExpertWeights, Mixture, combine, route
from publican.executors.native.cuda.operations import Operations


def experts_one_by_one(
    operations: Operations, x: torch.Tensor, mixture: Mixture, shared: torch.Tensor | None, dst: torch.Tensor
) -> None:
    """dst [M, width]: what `operations.Operations.experts` says."""
    experts, weights = route(x, mixture)
    given = x.new_empty((*experts.shape, dst.shape[1]), dtype=torch.float32)
    for number in sorted(set(experts.flatten().tolist())):
        rows, places = (experts == number).nonzero(as_tuple=True)
        given[rows, places] = _through(operations, x[rows], mixture, mixture.experts[number], dst.shape[1])
    dst.copy_(combine(given, weights, x, mixture, shared))


def _through(operations: Operations, x: torch.Tensor, mixture: Mixture, expert: ExpertWeights, width: int) -> torch.Tensor:
    both = x.new_empty((len(x), 2 * mixture.ffn_size))
    column = 0
    for weight in expert.inner:
        operations.linear(x, weight, None, both[:, column : column + weight.num_outputs])
        column += weight.num_outputs
    inner = x.new_empty((len(x), mixture.ffn_size))
    operations.gate(both, mixture.activation, inner)
    given = x.new_empty((len(x), width), dtype=torch.float32)
    operations.linear(inner, expert.down, None, given)
    return given
