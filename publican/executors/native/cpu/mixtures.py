"""Mixtures of experts as records: where rows are gathered by expert, what each expert reads, and who adds it all up.

A *place* is one row on its way through one expert (`src/records.h`). All layers work in the same places, one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import pointer
from typing import Any

import numpy as np

from publican.executors.native.cpu import records
from publican.executors.native.cpu.buffers import Buffers, FormKey, stride_of
from publican.executors.native.cpu.packing import PackedMatrix, Packer
from publican.executors.native.layout import DenseMatrix
from publican.executors.native.program import Experts

_GATE, _UP, _INNER, _OUT = "into gate", "into up", "inside", "out"
Record = tuple[int, Any]


def pack_experts(op: Experts, packer: Packer) -> tuple[PackedMatrix, ...]:
    """The router, and gate, up and down of each expert in turn, each read when the one before is packed."""
    rows = [op.router] if op.shared_gate is None else [op.router, op.shared_gate[None]]
    packed = [packer.pack(DenseMatrix(np.ascontiguousarray(np.concatenate(rows), np.float32)))]
    for expert in op.experts:
        packed += [packer.pack(expert.gate), packer.pack(expert.up), packer.pack(expert.down)]
    return tuple(packed)


class Mixtures:
    """The memory of all mixtures of a program, and their records.

    Args:
        ops: the mixtures, each with how many experts it has.
        form_kind: of activations that matrices of codes read, INT8 or HALVES.
    """

    def __init__(self, ops: Sequence[tuple[Experts, int]], buffers: Buffers, max_tokens: int, form_kind: int) -> None:
        self._buffers = buffers
        self._form_kind = form_kind
        num_places = max_tokens * max(op.num_chosen for op, _ in ops)
        hidden = max(buffers[op.src].width for op, _ in ops)
        inner = max(op.ffn_size for op, _ in ops)
        self._places = Buffers({_GATE: hidden, _UP: hidden, _INNER: inner, _OUT: hidden}, num_places)
        self._scores = Buffers({"scores": 1 + max(num for _, num in ops)}, max_tokens)
        self._max_tokens = max_tokens
        self._routings: dict[tuple[int, int], records.PcpuRouting] = {}

    def records(self, op: Experts, matrices: tuple[PackedMatrix, ...]) -> list[Record]:
        """One mixture, from the rows of `op.src` to those of `op.dst`."""
        router, *rest = matrices
        experts = (records.PcpuExpert * (len(rest) // 3))()
        for i, expert in enumerate(experts):
            self._fill(expert, op, *rest[3 * i : 3 * i + 3])
        routing = pointer(self._routing(len(experts), op.num_chosen))
        src, scores = self._buffers[op.src], self._scores["scores"]
        whole = records.PcpuExperts(experts, routing, src)
        if any(self._reads_floats(m) for i, m in enumerate(rest) if i % 3 < 2):
            whole.spread = self._places[_GATE]
        part = records.PcpuPart(matrix=pointer(router.record), src=src, dst=scores, scale=1.0)
        shared = self._buffers[op.shared] if op.shared_gate is not None else records.PcpuBuffer()
        combine = records.PcpuCombine(self._places[_OUT], self._buffers[op.dst], shared, scores, routing)
        made: list[Record] = [
            (records.LINEAR, records.PcpuLinear((records.PcpuPart * 1)(part), 1, 0, 0.0)),
            (records.ROUTE, records.PcpuRoute(scores, routing, op.normalised)),
            *((kind, whole) for kind in (records.GROUP, records.SPREAD, records.EXPERT_GATED)),
        ]
        if any(expert.inner for expert in experts):
            made.append((records.EXPERT_CONVERT, whole))
        return [*made, (records.EXPERT_DOWN, whole), (records.COMBINE, combine)]

    def _fill(self, expert: Any, op: Experts, gate: PackedMatrix, up: PackedMatrix, down: PackedMatrix) -> None:
        gated = expert.gated
        gated.gate, gated.up = pointer(gate.record), pointer(up.record)
        gated.src, gated.activation = self._places[_GATE], records.GATES[op.activation]
        gate_key, up_key, down_key = self._key(gate), self._key(up), self._key(down)
        if gate_key is not None:
            gated.gate_x = self._form(_GATE, gate_key)
        if up_key is not None:
            gated.up_x = gated.gate_x if up_key == gate_key else self._form(_UP, up_key)
        expert.down = records.PcpuPart(matrix=pointer(down.record), src=self._places[_INNER], dst=self._places[_OUT], scale=1.0)
        if down_key is not None:
            expert.down.x = self._form(_INNER, down_key)
        if down_key is not None and down_key[2] is None and down_key[1] == stride_of(op.ffn_size):
            gated.form = expert.down.x
            return
        gated.dst = self._places[_INNER]
        if down_key is not None:
            expert.inner = expert.down.x

    def _key(self, matrix: PackedMatrix) -> FormKey | None:
        if self._reads_floats(matrix):
            return None
        kind = records.HALVES if matrix.storage == records.BF16 else self._form_kind
        return kind, matrix.width, None if matrix.gather is None else matrix.gather.tobytes()

    @staticmethod
    def _reads_floats(matrix: PackedMatrix) -> bool:
        return matrix.storage in (records.F16, records.F32)

    def _form(self, buffer: str, key: FormKey) -> Any:
        """A form with a gather of its own, in the memory that all of its kind and width share."""
        kind, width, gather = key
        shared = self._places.form(buffer, (kind, width, None))
        if gather is None:
            return shared
        own = records.PcpuActivation.from_buffer_copy(shared.contents)
        own.gather = self._places.keep(np.frombuffer(gather, np.int32))
        return pointer(own)

    def _routing(self, num_experts: int, num_chosen: int) -> records.PcpuRouting:
        if (num_experts, num_chosen) not in self._routings:
            num = self._max_tokens * num_chosen
            sizes = {"experts": num, "places": num, "rows": num, "owners": num}
            sizes |= {"starts": num_experts + 1, "active": num_experts, "num_active": 1}
            routing = records.PcpuRouting(num_experts=num_experts, num_chosen=num_chosen)
            for name, size in sizes.items():
                setattr(routing, name, self._places.keep(np.zeros(size, np.int32)))
            routing.weights = self._places.keep(np.zeros(num, np.float32))
            self._routings[num_experts, num_chosen] = routing
        return self._routings[num_experts, num_chosen]
