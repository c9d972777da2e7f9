"""A `Program` becomes an array of C records, once, when a model is loaded.

Neighbours are fused where the numbers stay the same: whoever writes a buffer also brings it into the forms that later linear
layers read (int8 with scales, or bf16), so that quantising costs no pass of its own; linear layers side by side become one
record; a buffer that nobody reads as float32 is not written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from ctypes import c_void_p, cast, pointer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.executors.native.cpu import dataflow, records
from publican.executors.native.cpu.adapters import Adapters, Layer, pack_low_ranks
from publican.executors.native.cpu.buffers import Buffers, FormKey, padded, stride_of
from publican.executors.native.cpu.mixtures import Mixtures, pack_experts
from publican.executors.native.cpu.packing import PackedMatrix, Packer, dense_storage
from publican.executors.native.layout import DenseMatrix, Matrix, QuantizedMatrix
from publican.executors.native.program import (
    Add,
    Attend,
    Embed,
    Experts,
    GatedLinear,
    KVPlace,
    Linear,
    Logits,
    Norm,
    Op,
    Program,
    StoreKV,
)

_FINAL = "final"
_NOWHERE = records.PcpuBuffer(None, 0, 0)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Packed:
    """An operation whose weights are panels; in `op` itself only their shapes are left."""

    op: Op
    matrices: tuple[PackedMatrix, ...] = ()
    added: tuple[Layer, ...] = ()
    """What adapters add to each of `matrices`; empty where they add nothing."""


class Lowering:
    """The records of one program, and everything they point to.

    Attributes:
        record: the C structure to run.
        hidden_stride: floats from one hidden state to the next.
    """

    def __init__(
        self, program: Program, packer: Packer, limits: tuple[int, int], int8: bool, places: tuple[KVPlace, ...]
    ) -> None:
        max_tokens, max_logits = limits
        self._places = places
        self._program = dataclasses.replace(program, ops=())  # they lead to the files, which are to be closed
        self._form_kind = records.INT8 if int8 else records.HALVES
        self._buffers = Buffers(program.buffers, max_tokens)
        self._final = Buffers({_FINAL: program.hidden_size}, max_logits)
        self._ropes = [
            (np.ascontiguousarray(r.cos, np.float32), np.ascontiguousarray(r.sin, np.float32)) for r in program.ropes
        ]
        self._packed = list(_pack_all(program.ops, packer))
        self._ops = [packed.op for packed in self._packed]
        mixtures = [(p.op, len(p.matrices) // 3) for p in self._packed if isinstance(p.op, Experts)]
        self._mixtures = Mixtures(mixtures, self._buffers, max_tokens, self._form_kind) if mixtures else None
        self._adapters = Adapters(_added_together(self._packed), max_tokens) if program.num_adapters else None
        self._wanted: list[list[FormKey]] = [[] for _ in self._ops]
        self._as_floats = [False] * len(self._ops)
        self._records: list[tuple[int, Any]] = []
        self._trace()
        self._lower()
        array = (records.PcpuRecord * len(self._records))()
        for i, (kind, op) in enumerate(self._records):
            array[i] = records.PcpuRecord(kind, cast(pointer(op), c_void_p))
        self.record = records.PcpuProgram(array, len(array), max_tokens, max_logits)
        self.hidden_stride = stride_of(program.hidden_size)

    def _place(self, layer: int) -> dict[str, int]:
        """The fields that say where a layer's keys and values are."""
        place = self._places[layer]
        return {"layer": place.number, "pool": int(place.is_windowed)}

    # ---- what later operations want of earlier ones ----

    def _trace(self) -> None:
        for i, packed in enumerate(self._packed):
            for buffer in dataflow.reads_floats(packed.op):
                self._as_floats[dataflow.last_writer(self._ops, i, buffer)] = True
            if isinstance(packed.op, Linear | GatedLinear):
                for matrix in packed.matrices:
                    self._note_product(i, packed.op.src, matrix)
                if packed.added:
                    self._as_floats[dataflow.last_writer(self._ops, i, packed.op.src)] = True

    def _note_product(self, reader: int, buffer: str, matrix: PackedMatrix) -> None:
        writer = dataflow.last_writer(self._ops, reader, buffer)
        key = self._form_key(matrix)
        if key is None:
            self._as_floats[writer] = True
        elif key not in self._wanted[writer]:
            self._wanted[writer].append(key)

    def _form_key(self, matrix: PackedMatrix) -> FormKey | None:
        """The form that a matrix reads; None where it reads the buffer itself."""
        return self._form_of(matrix, records.HALVES if matrix.storage == records.BF16 else self._form_kind)

    @staticmethod
    def _form_of(matrix: PackedMatrix, kind: int) -> FormKey | None:
        if matrix.storage in (records.F16, records.F32):
            return None
        return kind, matrix.width, None if matrix.gather is None else matrix.gather.tobytes()

    # ---- records ----

    def _lower(self) -> None:
        i = 0
        while i < len(self._ops):
            count = 1
            if isinstance(self._ops[i], Linear):
                count = dataflow.independent_run(self._ops, i)
                self._linears(self._packed[i : i + count])
                for j in range(i, i + count):
                    self._convert(j, self._wanted[j])
            else:
                self._one(i, self._packed[i])
            i += count

    def _one(self, i: int, packed: _Packed) -> None:
        op, matrices = packed.op, packed.matrices
        match op:
            case Embed():
                self._add(records.EMBED, self._embed(op, matrices))
                self._convert(i, self._wanted[i])
            case Norm():
                self._add(records.NORM, self._norm(op.src, op.dst, op.weight, op.eps, self._forms(op.dst, self._wanted[i])))
            case Add():
                self._add(records.ADD, records.PcpuAdd(self._buffers[op.src], self._buffers[op.dst], op.scale))
                self._convert(i, self._wanted[i])
            case GatedLinear():
                self._gated(i, op, *matrices)
            case StoreKV():
                self._add(records.STORE_KV, self._store_kv(op))
                self._convert(i, self._wanted[i])
            case Attend():
                self._attend(i, op)
            case Logits():
                self._logits(op, *matrices)
            case Experts():
                assert self._mixtures is not None
                self._records += self._mixtures.records(op, matrices)
                self._convert(i, self._wanted[i])
            case Linear():
                raise AssertionError("linear layers go by _linears")

    def _add(self, kind: int, op: Any) -> None:
        self._records.append((kind, op))

    def _forms(self, buffer: str, keys: list[FormKey]) -> list[Any]:
        return [self._buffers.form(buffer, key) for key in keys]

    def _convert(self, i: int, keys: list[FormKey]) -> None:
        """Forms that the writer itself cannot leave behind."""
        buffer = dataflow.written(self._ops[i])
        if keys and buffer is not None:
            forms = self._buffers.form_list(self._forms(buffer, keys))
            self._add(records.CONVERT, records.PcpuConvert(self._buffers[buffer], len(keys), forms))

    def _embed(self, op: Embed, matrices: tuple[PackedMatrix, ...]) -> records.PcpuEmbed:
        record = records.PcpuEmbed(dst=self._buffers[op.dst], num_tokens=op.table.shape[0], scale=op.scale)
        if not matrices:
            assert isinstance(op.table, DenseMatrix)
            record.rows = self._buffers.keep(op.table.values)
            record.rows_storage = dense_storage(op.table.values)
            return record
        record.table = pointer(matrices[0].record)
        if matrices[0].gather is not None:
            record.gather = matrices[0].gather.ctypes.data
        return record

    def _norm(self, src: str, dst: str, weight: NDArray[np.float32], eps: float, forms: list[Any]) -> records.PcpuNorm:
        source = self._buffers[src]
        address = self._buffers.keep(padded(weight, source.stride))
        return records.PcpuNorm(source, self._buffers[dst], address, eps, len(forms), self._buffers.form_list(forms))

    def _linears(self, run: list[_Packed]) -> None:
        parts = (records.PcpuPart * len(run))()
        for part, packed in zip(parts, run, strict=True):
            op, (matrix,) = packed.op, packed.matrices
            assert isinstance(op, Linear)
            part.matrix = pointer(matrix.record)
            part.src, part.dst = self._buffers[op.src], self._buffers[op.dst]
            key = self._form_key(matrix)
            if key is not None:
                part.x = self._buffers.form(op.src, key)
            if op.bias is not None:
                part.bias = self._buffers.keep(padded(op.bias, stride_of(matrix.num_outputs)))
            part.column, part.add, part.scale = op.column, op.add, op.scale
        for part, ups in zip(parts, self._shrink(run), strict=False):
            part.adapted = ups
        self._add(records.LINEAR, records.PcpuLinear(parts, len(run), 0, 0.0))

    def _shrink(self, run: list[_Packed]) -> list[records.PcpuUps]:
        """Comes before layers that adapters add to; what to add to each, in order. Nothing where they add nothing."""
        layers = [layer for packed in run for layer in packed.added or ((),) * len(packed.matrices)]
        if self._adapters is None or not any(layers):
            return []
        src = run[0].op.src  # type: ignore[union-attr]
        shrink, ups = self._adapters.records(self._buffers[src], layers)
        self._add(records.SHRINK, shrink)
        return ups

    def _gated(self, i: int, op: GatedLinear, gate: PackedMatrix, up: PackedMatrix) -> None:
        record = records.PcpuGated(gate=pointer(gate.record), up=pointer(up.record), src=self._buffers[op.src])
        gate_key, up_key = self._form_key(gate), self._form_key(up)
        if gate_key is not None:
            record.gate_x = self._buffers.form(op.src, gate_key)
        if up_key is not None:
            record.up_x = self._buffers.form(op.src, up_key)
        direct = [key for key in self._wanted[i] if key[2] is None and key[1] == stride_of(gate.num_outputs)][:1]
        if direct:
            record.form = self._buffers.form(op.dst, direct[0])
        others = [key for key in self._wanted[i] if key not in direct]
        record.dst = self._buffers[op.dst] if self._as_floats[i] or others or not direct else _NOWHERE
        record.activation = records.GATES[op.activation]
        if ups := self._shrink([self._packed[i]]):
            record.gate_adapted, record.up_adapted = ups
        self._add(records.GATED, record)
        self._convert(i, others)

    def _store_kv(self, op: StoreKV) -> records.PcpuStoreKV:
        program = self._program
        record = records.PcpuStoreKV(
            src=self._buffers[op.src],
            eps=op.eps,
            **self._place(op.layer),
            num_heads=program.num_heads,
            context_len=program.context_len,
        )
        if op.rope >= 0:
            cos, sin = self._ropes[op.rope]
            record.cos, record.sin = cos.ctypes.data, sin.ctypes.data
            record.context_len, record.rope_half = cos.shape
        for name, weight in (("q_norm", op.q_norm), ("k_norm", op.k_norm)):
            if weight is not None:
                setattr(record, name, self._buffers.keep(padded(weight, stride_of(weight.size))))
        record.norm_width = self._norm_width(op)
        return record

    def _norm_width(self, op: StoreKV) -> int:
        """0 for a norm over each head. With one head the two are the same, so the wider one of q and k decides."""
        weights = [w for w in (op.q_norm, op.k_norm) if w is not None]
        widest = max((w.size for w in weights), default=0)
        return widest if widest > self._program.head_dim else 0

    def _attend(self, i: int, op: Attend) -> None:
        program = self._program
        keys = self._wanted[i]
        width = program.num_heads * program.head_dim
        direct = [key for key in keys if key[2] is None and key[1] == width and program.head_dim % 32 == 0]
        others = [key for key in keys if key not in direct]
        forms = self._forms(op.dst, direct)
        record = records.PcpuAttend(
            src=self._buffers[op.src],
            dst=self._buffers[op.dst] if self._as_floats[i] or others or not direct else _NOWHERE,
            num_forms=len(forms),
            forms=self._buffers.form_list(forms),
            **self._place(op.layer),
            num_heads=program.num_heads,
            window=op.window,
            scale=op.scale,
            softcap=op.softcap,
        )
        self._add(records.ATTEND, record)
        self._convert(i, others)

    def _logits(self, op: Logits, matrix: PackedMatrix) -> None:
        """Always in bf16: nothing comes after to even an error out. It makes a fifth of all that int8 costs in exactness, and
        few rows want logits."""
        key = self._form_of(matrix, records.HALVES)
        forms = [] if key is None else [self._final.form(_FINAL, key)]
        norm = self._norm(op.src, op.src, op.norm, op.eps, forms)
        norm.dst = self._final[_FINAL]
        part = records.PcpuPart(matrix=pointer(matrix.record), src=self._final[_FINAL], scale=op.scale)
        if forms:
            part.x = forms[0]
        self._add(records.FINAL_NORM, norm)
        self._add(records.LINEAR, records.PcpuLinear((records.PcpuPart * 1)(part), 1, 1, op.softcap))


def _pack_all(ops: Iterable[Op], packer: Packer) -> Iterator[_Packed]:
    """Operations with packed weights, each read, packed and let go before the next is asked for."""
    kept: list[_Packed] = []
    tables: dict[int, PackedMatrix] = {}
    table: Matrix | None = None
    for op in ops:
        match op:
            case Embed():
                # A dense table that no output shares is read where it lies, a few rows per step: the last operation tells.
                table = op.table
                kept.append(_Packed(op))
                if isinstance(table, QuantizedMatrix):
                    tables[0] = packer.pack(table)
            case Linear():
                added = (pack_low_ranks(op.adapters, packer),) if op.adapters else ()
                empty = dataclasses.replace(op, weight=_shape_of(op.weight), adapters=())
                kept.append(_Packed(empty, (packer.pack(op.weight),), added))
            case GatedLinear():
                pair = packer.pack(op.gate), packer.pack(op.up)
                kept.append(_gated_without_weights(op, pair, packer))
            case Logits():
                tied = op.weight is table
                if not (tied and tables):
                    tables[int(not tied)] = packer.pack(op.weight)
                kept.append(_Packed(dataclasses.replace(op, weight=_shape_of(op.weight)), (tables[int(not tied)],)))
            case Experts():
                # The router's copies go too: only panels are left of it.
                kept.append(_Packed(dataclasses.replace(op, experts=(), router=op.router[:0]), pack_experts(op, packer)))
            case _:
                kept.append(_Packed(op))
    for packed in kept:
        if isinstance(packed.op, Embed):
            yield _finish_table(packed.op, tables.get(0))
        else:
            yield packed


def _gated_without_weights(op: GatedLinear, pair: tuple[PackedMatrix, PackedMatrix], packer: Packer) -> _Packed:
    """Low-rank matrices that gate and up share are packed once."""
    both = pack_low_ranks((*op.gate_adapters, *op.up_adapters), packer)
    num_gate = len(op.gate_adapters)
    empty = dataclasses.replace(op, gate=_shape_of(op.gate), up=_shape_of(op.up), gate_adapters=(), up_adapters=())
    return _Packed(empty, pair, (both[:num_gate], both[num_gate:]) if both else ())


def _added_together(packed: list[_Packed]) -> Iterator[list[Layer]]:
    """The additions of layers that may run as one: linear layers side by side, and gates."""
    together: list[Layer] = []
    for each in packed:
        if not isinstance(each.op, Linear):
            yield together
            yield list(each.added)
            together = []
        else:
            together += each.added
    yield together


def _finish_table(op: Embed, table: PackedMatrix | None) -> _Packed:
    if table is not None:
        return _Packed(dataclasses.replace(op, table=_shape_of(op.table)), (table,))
    assert isinstance(op.table, DenseMatrix)
    values: Any = np.ascontiguousarray(op.table.values)
    return _Packed(dataclasses.replace(op, table=DenseMatrix(values)))


def _shape_of(matrix: Matrix) -> DenseMatrix:
    """A matrix with as many outputs, and nothing in it."""
    return DenseMatrix(np.empty((matrix.shape[0], 0), np.float32))
