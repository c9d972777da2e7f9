"""From a `Program` to instructions on devices: packs weights as they come, fuses neighbours, and says who has which layer.

Fused: a linear layer or an addition to the residual stream with the norm that follows; gate and up into one matrix where
their formats allow. Engine thread, while a model is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

import numpy as np
import torch

from publican.executors.native.cuda.adapters import adapt
from publican.executors.native.cuda.mixtures import ExpertWeights, Mixture, together
from publican.executors.native.cuda.operations import HeadNorms, Scores
from publican.executors.native.cuda.packing import Packer, Weight
from publican.executors.native.cuda.placement import Placement
from publican.executors.native.cuda.steps import (
    AddBack,
    AttendRows,
    EmbedRows,
    Gate,
    Instruction,
    MixExperts,
    Normalise,
    NormOf,
    Output,
    Project,
    ProjectAdd,
    StoreKeys,
)
from publican.executors.native.layout import Matrix, stack
from publican.executors.native.program import (
    Add,
    Attend,
    Embed,
    Expert,
    Experts,
    Floats,
    GatedLinear,
    Linear,
    Logits,
    LowRank,
    Norm,
    Op,
    Program,
    StoreKV,
)


@dataclass(slots=True, eq=False)
class Stage:
    """What one device does of a step. `layers` are the model's numbers of those whose cache it has."""

    device: int
    instructions: list[Instruction] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """Attributes:
    stages: in order; the residual stream goes from each to the next.
    buffers: width of each buffer; `residuals` are the float32 ones among them.
    waits: whether a step waits for the device on its way, and so cannot be captured.
    """

    stages: tuple[Stage, ...]
    buffers: dict[str, int]
    residuals: frozenset[str]
    waits: bool = False


class Lowering:
    """Goes through a program once.

    Args:
        packers: one for each device.
        dtype: of activations.
    """

    def __init__(self, program: Program, packers: list[Packer], placement: Placement, dtype: torch.dtype) -> None:
        self._program = program
        self._packers = packers
        self._placement = placement
        self._dtype = dtype
        self._stages = [Stage(0)]
        self._buffers = dict(program.buffers)
        self._residuals: set[str] = set()
        self._table: tuple[Matrix, int, Weight] | None = None
        self._waits = False
        self._layer_bytes = 0
        self._bytes_before = 0

    def lower(self) -> Lowered:
        """Raises OutOfMemory, and what going through the program raises."""
        in_feed_forward = layer_ended = False
        opened = False
        for op in self._program.ops:
            if not isinstance(op, Embed | Logits) and (layer_ended or not opened):
                self._open_layer(opened)
                opened, layer_ended, in_feed_forward = True, False, False
            self._one(op)
            in_feed_forward |= isinstance(op, GatedLinear | Experts)
            is_back = isinstance(op, Add) or (isinstance(op, Linear) and op.add)
            layer_ended |= in_feed_forward and is_back
        return Lowered(tuple(self._stages), self._buffers, frozenset(self._residuals), self._waits)

    @property
    def _packer(self) -> Packer:
        return self._packers[self._placement.current]

    def _pack(self, matrix: Matrix) -> Weight:
        before = self._packer.num_bytes
        weight = self._packer.pack(matrix)
        self._placement.take(self._packer.num_bytes - before)
        return weight

    def _open_layer(self, has_measure: bool) -> None:
        total = sum(packer.num_bytes for packer in self._packers)
        if has_measure:
            self._layer_bytes = total - self._bytes_before
        self._bytes_before = total
        device = self._placement.open_layer(self._layer_bytes)
        if device != self._stages[-1].device:
            self._stages.append(Stage(device))

    def _one(self, op: Op) -> None:
        stage = self._stages[-1]
        if isinstance(op, Norm) and self._fused(op, stage):
            return
        stage.instructions.extend(self._instructions(op))
        if isinstance(op, StoreKV):
            stage.layers.append(op.layer)

    def _fused(self, op: Norm, stage: Stage) -> bool:
        """Whether the norm could join the addition before it."""
        last = stage.instructions[-1] if stage.instructions else None
        if not isinstance(last, ProjectAdd | AddBack) or last.norm is not None or last.residual != op.src or op.dst == op.src:
            return False
        stage.instructions[-1] = replace(last, norm=self._norm(op))
        return True

    def _instructions(self, op: Op) -> Iterator[Instruction]:
        match op:
            case Embed():
                yield self._embed(op)
            case Norm():
                yield Normalise(op.src, self._norm(op))
            case Linear():
                yield from self._linear(op)
            case GatedLinear():
                yield from self._gated(op)
            case Add():
                self._residuals.add(op.dst)
                yield AddBack(op.src, op.dst, op.scale, None)
            case StoreKV():
                yield self._store(op)
            case Attend():
                yield AttendRows(op.src, op.dst, op.layer, Scores(op.scale, op.window, op.softcap))
            case Logits():
                norm = self._packer.vector(op.norm)
                yield Output(op.src, norm, op.eps, self._output(op.weight), op.scale, op.softcap, self._dtype)
            case Experts():
                yield self._experts(op)
            case _:
                assert_never(op)

    def _norm(self, op: Norm) -> NormOf:
        return NormOf(self._packer.vector(op.weight), op.eps, op.dst)

    def _vector(self, values: Floats | None) -> torch.Tensor | None:
        return None if values is None else self._packer.vector(values)

    def _embed(self, op: Embed) -> EmbedRows:
        table = self._pack(op.table)
        self._table = op.table, self._placement.current, table
        self._residuals.add(op.dst)
        return EmbedRows(table, op.scale, op.dst)

    def _output(self, matrix: Matrix) -> Weight:
        if self._table is not None and self._table[0] is matrix and self._table[1] == self._placement.current:
            return self._table[2]
        return self._pack(matrix)

    def _linear(self, op: Linear) -> Iterator[Instruction]:
        weight, bias = self._pack(op.weight), self._vector(op.bias)
        if not op.add:
            yield Project(op.src, op.dst, weight, bias, op.column)
            yield from self._adapt(op.src, op.dst, op.adapters, op.weight.shape, column=op.column)
            return
        self._residuals.add(op.dst)
        yield from self._adapt(
            op.src, op.dst, op.adapters, op.weight.shape, op.scale
        )  # first, for a norm may join what is last
        yield ProjectAdd(op.src, op.dst, weight, bias, op.scale, None)

    def _adapt(
        self, src: str, dst: str, added: tuple[LowRank, ...], shape: tuple[int, int], scale: float = 1.0, column: int = 0
    ) -> Iterator[Instruction]:
        if added:
            device = self._packer.device
            made = adapt((src, dst), added, self._program.num_adapters, shape, (device, self._dtype), scale, column)
            self._packer.num_bytes += made.num_bytes
            self._placement.take(made.num_bytes)
            yield made

    def _gated(self, op: GatedLinear) -> Iterator[Instruction]:
        width = op.gate.shape[0]
        both = f"gate and up of {op.dst}"
        self._buffers[both] = 2 * width
        stacked = stack([op.gate, op.up])
        if stacked is not None:
            yield Project(op.src, both, self._pack(stacked), None)
        else:
            yield Project(op.src, both, self._pack(op.gate), None)
            yield Project(op.src, both, self._pack(op.up), None, width)
        added = (*op.gate_adapters, *(replace(each, column=width + each.column) for each in op.up_adapters))
        yield from self._adapt(op.src, both, added, (2 * width, op.gate.shape[1]))
        yield Gate(both, op.dst, op.activation)

    def _experts(self, op: Experts) -> MixExperts:
        router, shared_gate = self._packer.vector(op.router), self._vector(op.shared_gate)
        experts = tuple(ExpertWeights(self._gate_and_up(each), self._pack(each.down)) for each in op.experts)
        apart = Mixture(router, shared_gate, experts, op.num_chosen, op.ffn_size, op.normalised, op.activation)
        del experts
        mixture = together(apart)
        self._waits |= mixture.down is None
        return MixExperts(op.src, op.dst, mixture, op.shared)

    def _gate_and_up(self, expert: Expert) -> tuple[Weight, ...]:
        stacked = stack([expert.gate, expert.up])
        if stacked is not None:
            return (self._pack(stacked),)
        return self._pack(expert.gate), self._pack(expert.up)

    def _store(self, op: StoreKV) -> StoreKeys:
        """Norms as wide as a head are the kernel's; wider ones are rows of their own."""
        q, k, dim = self._vector(op.q_norm), self._vector(op.k_norm), self._program.head_dim
        one = [norm if norm is not None and len(norm) == dim else None for norm in (q, k)]
        rows = [norm if norm is not None and len(norm) != dim else None for norm in (q, k)]
        norms = HeadNorms(one[0], one[1], op.eps), HeadNorms(rows[0], rows[1], op.eps)
        return StoreKeys(op.src, op.layer, op.rope, *norms)


def lower_program(program: Program, packers: list[Packer], placement: Placement, dtype: torch.dtype) -> Lowered:
    """The instructions of a program, its weights packed for the devices that they go to."""
    return Lowering(program, packers, placement, dtype).lower()


def rope_tensors(program: Program, device: torch.device) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Cosines and sines [context, dim / 2] of every table, float32."""
    return [
        (torch.from_numpy(np.array(table.cos)).to(device), torch.from_numpy(np.array(table.sin)).to(device))
        for table in program.ropes
    ]
