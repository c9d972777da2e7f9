"""What adapters add to a linear layer on a device: two products, whatever adapters the rows have, so that a graph fits any.

All adapters' ranks lie side by side. Every row is multiplied with all of them, which is little beside the layer itself as long
as they are a handful; then only what is the row's own is kept, scaled, and multiplied up. Where no row of a step has an
adapter, nothing is done. Plain torch, for these are matrices as cuBLAS likes them. Engine thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from publican.executors.native.cuda.steps import Context
from publican.executors.native.layout import dequantise
from publican.executors.native.program import LowRank


@dataclass(frozen=True, slots=True, eq=False)
class Adapt:
    """dst[:, column:] += scale · up · (scales of the row's adapter · (down · src)), R ranks of all adapters together.

    Attributes:
        down: [R, inputs]; up: [outputs, R]; in the type of activations.
        scales: float32 [1 + adapters, R], zero but for an adapter's own ranks; row 0 is of rows without.
    """

    src: str
    dst: str
    down: torch.Tensor
    up: torch.Tensor
    scales: torch.Tensor
    scale: float = 1.0
    column: int = 0

    def run(self, on: Context) -> None:
        if on.inputs.batch.adapters is None:
            return
        own = self.scales.index_select(0, on.inputs.adapters)
        inner = on.buffers[self.src].to(self.down.dtype) @ self.down.t()
        inner = torch.where(own != 0, inner * own, 0)  # not only times zero: what is infinite in one must not touch another's
        dst = on.buffers[self.dst][:, self.column : self.column + len(self.up)]
        dst.add_(inner.to(self.up.dtype) @ self.up.t(), alpha=self.scale)

    @property
    def num_bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in (self.down, self.up, self.scales))


def adapt(
    names: tuple[str, str],
    added: Sequence[LowRank],
    num_adapters: int,
    shape: tuple[int, int],
    to: tuple[torch.device, torch.dtype],
    scale: float = 1.0,
    column: int = 0,
) -> Adapt:
    """The instruction that adds these to a layer of `shape` [outputs, inputs].

    Args:
        names: of the buffers that the layer reads, and that it writes from `column` on.
        scale: what the layer's product is multiplied by.
    """
    num_outputs, num_inputs = shape
    num_ranks = sum(each.down.shape[0] for each in added)
    down = np.zeros((num_ranks, num_inputs), np.float32)
    up = np.zeros((num_outputs, num_ranks), np.float32)
    scales = np.zeros((1 + num_adapters, num_ranks), np.float32)
    start = 0
    for each in added:
        end = start + each.down.shape[0]
        down[start:end] = dequantise(each.down)
        up[each.column : each.column + each.up.shape[0], start:end] = dequantise(each.up)
        scales[1 + each.adapter, start:end] = each.scale
        start = end
    device, dtype = to
    parts = torch.from_numpy(down).to(device, dtype), torch.from_numpy(up).to(device, dtype)
    return Adapt(*names, *parts, torch.from_numpy(scales).to(device), scale, column)
