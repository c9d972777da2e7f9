"""What a step consists of on a device, in order: instructions with their weights at hand. `lowering` makes them.

An instruction names buffers and computes on the rows of the step. Engine thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from publican.executors.native.cuda.inputs import StepInputs
from publican.executors.native.cuda.mixtures import Mixture
from publican.executors.native.cuda.operations import HeadNorms, Heads, Operations, Pages, RowNorm, Scores
from publican.executors.native.cuda.packing import Weight

Rope = tuple[torch.Tensor, torch.Tensor]


@dataclass(slots=True, eq=False)
class Context:
    """One step on one device. `logits` and `hidden` are there after `Output`.

    Attributes:
        buffers: the first M rows of each.
        layers: keys and values by the model's own layer numbers; only this device's are there.
        ropes: cosines and sines by `StoreKeys.rope`.
    """

    ops: Operations
    buffers: Mapping[str, torch.Tensor]
    inputs: StepInputs
    heads: Heads
    layers: Mapping[int, Pages]
    ropes: Sequence[Rope]
    logits: torch.Tensor | None = None
    hidden: torch.Tensor | None = None


class Instruction(Protocol):
    def run(self, on: Context) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class NormOf:
    """An RMSNorm into a buffer."""

    weight: torch.Tensor
    eps: float
    dst: str

    def on(self, context: Context) -> RowNorm:
        return RowNorm(self.weight, self.eps, context.buffers[self.dst])


@dataclass(frozen=True, slots=True, eq=False)
class EmbedRows:
    table: Weight
    scale: float
    dst: str

    def run(self, on: Context) -> None:
        on.ops.embed(self.table, on.inputs.tokens, self.scale, on.buffers[self.dst])


@dataclass(frozen=True, slots=True, eq=False)
class Normalise:
    src: str
    norm: NormOf

    def run(self, on: Context) -> None:
        on.ops.norm(on.buffers[self.src], self.norm.on(on))


@dataclass(frozen=True, slots=True, eq=False)
class Project:
    """A linear layer into columns of a buffer."""

    src: str
    dst: str
    weight: Weight
    bias: torch.Tensor | None
    column: int = 0

    def run(self, on: Context) -> None:
        dst = on.buffers[self.dst][:, self.column : self.column + self.weight.num_outputs]
        on.ops.linear(on.buffers[self.src], self.weight, self.bias, dst)


@dataclass(frozen=True, slots=True, eq=False)
class ProjectAdd:
    """A linear layer added to the residual stream, and the norm that follows."""

    src: str
    residual: str
    weight: Weight
    bias: torch.Tensor | None
    scale: float
    norm: NormOf | None

    def run(self, on: Context) -> None:
        y = on.ops.partials(on.buffers[self.src], self.weight)
        norm = None if self.norm is None else self.norm.on(on)
        on.ops.add(y, self.bias, self.scale, on.buffers[self.residual], norm)


@dataclass(frozen=True, slots=True, eq=False)
class AddBack:
    """A buffer added to the residual stream, and the norm that follows."""

    src: str
    residual: str
    scale: float
    norm: NormOf | None

    def run(self, on: Context) -> None:
        norm = None if self.norm is None else self.norm.on(on)
        on.ops.add(on.buffers[self.src][None], None, self.scale, on.buffers[self.residual], norm)


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    src: str
    dst: str
    activation: str

    def run(self, on: Context) -> None:
        on.ops.gate(on.buffers[self.src], self.activation, on.buffers[self.dst])


@dataclass(frozen=True, slots=True, eq=False)
class MixExperts:
    """`shared`: the buffer of what an expert of all rows gave; empty for none."""

    src: str
    dst: str
    mixture: Mixture
    shared: str

    def run(self, on: Context) -> None:
        shared = on.buffers[self.shared] if self.shared else None
        on.ops.experts(on.buffers[self.src], self.mixture, shared, on.buffers[self.dst])


@dataclass(frozen=True, slots=True, eq=False)
class StoreKeys:
    """Rotation, and keys and values into the cache.

    `row_norms`: norms of q and k over all heads of a token together, which come first.
    """

    src: str
    layer: int
    rope: int
    norms: HeadNorms
    row_norms: HeadNorms

    def run(self, on: Context) -> None:
        qkv, heads = on.buffers[self.src], on.heads
        num_q, num_k = heads.num_q * heads.dim, heads.num_kv * heads.dim
        places = ((self.row_norms.q, slice(num_q)), (self.row_norms.k, slice(num_q, num_q + num_k)))
        for weight, columns in places:
            if weight is not None:
                on.ops.norm(qkv[:, columns], RowNorm(weight, self.row_norms.eps, qkv[:, columns]))
        rope = on.ropes[self.rope] if self.rope >= 0 else None
        on.ops.store_kv(qkv, on.layers[self.layer], on.inputs, heads, self.norms, rope)


@dataclass(frozen=True, slots=True, eq=False)
class AttendRows:
    src: str
    dst: str
    layer: int
    scores: Scores

    def run(self, on: Context) -> None:
        on.ops.attend(on.buffers[self.src], on.layers[self.layer], on.inputs, on.heads, self.scores, on.buffers[self.dst])


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Logits and hidden states of the rows that want them, float32. The last instruction."""

    src: str
    norm: torch.Tensor
    eps: float
    weight: Weight
    scale: float
    softcap: float
    dtype: torch.dtype

    def run(self, on: Context) -> None:
        on.logits = self._logits(on)
        if on.inputs.hidden_rows.numel():
            rows = on.buffers[self.src].index_select(0, on.inputs.hidden_rows)
            on.hidden = torch.empty_like(rows, dtype=torch.float32)
            on.ops.norm(rows, RowNorm(self.norm, self.eps, on.hidden))

    def _logits(self, on: Context) -> torch.Tensor:
        rows = on.buffers[self.src].index_select(0, on.inputs.logit_rows)
        logits = rows.new_empty((len(rows), self.weight.num_outputs), dtype=torch.float32)
        if not len(rows):
            return logits
        normed = torch.empty_like(rows, dtype=self.dtype)
        on.ops.norm(rows, RowNorm(self.norm, self.eps, normed))
        on.ops.linear(normed, self.weight, None, logits)
        if self.scale != 1.0:
            logits *= self.scale
        if self.softcap:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits
