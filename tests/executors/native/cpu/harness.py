"""Runs single records: buffers to fill and read, matrices to pack, and a batch that says as little as possible."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_void_p, cast, pointer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.executors.native.cpu import records
from publican.executors.native.cpu.buffers import Buffers, FormKey
from publican.executors.native.cpu.kv import KVCache
from publican.executors.native.cpu.library import Engine
from publican.executors.native.cpu.packing import PackedMatrix, Packer
from publican.executors.native.layout import Matrix, QuantizedMatrix, Segment, dequantise
from publican.executors.native.program import Program

Floats = NDArray[np.float32]


def shape_program(heads: int, kv_heads: int, head_dim: int, layers: int = 1) -> Program:
    """A program of no operations, for its measures."""
    return Program((), {}, (), layers, heads, kv_heads, head_dim, 32, 64, 4096)


class Harness:
    """Buffers of `rows` rows, a cache, and an engine to run records on them."""

    def __init__(
        self,
        engine: Engine,
        widths: Mapping[str, int],
        rows: int,
        program: Program | None = None,
        num_pages: int = 0,
        page_len: int = 16,
        kv: Any = "bf16",
    ) -> None:
        self.engine = engine
        self.rows = rows
        self.buffers = Buffers(widths, max(rows, 1))
        self.cache = KVCache(program or shape_program(1, 1, 16), (num_pages or -(-rows // page_len) or 1, 0), page_len, kv)
        self.packer = Packer(engine, exact_scales=True)
        self.ops: list[tuple[int, Any]] = []

    def whole(self, name: str) -> Floats:
        """A buffer's memory with what lies behind the rows' numbers."""
        b = self.buffers[name]
        count = max(self.rows, 1) * b.stride
        flat = np.ctypeslib.as_array((ctypes.c_float * count).from_address(b.data))
        return flat.reshape(max(self.rows, 1), b.stride)

    def fill(self, name: str, values: NDArray[Any]) -> None:
        self.whole(name)[: len(values), : values.shape[1]] = values

    def read(self, name: str) -> Floats:
        b = self.buffers[name]
        whole = self.whole(name)
        assert not whole[:, b.width :].any(), f"numbers behind the rows of {name}"
        return whole[: self.rows, : b.width].copy()

    def form(self, name: str, key: FormKey) -> Any:
        return self.buffers.form(name, key)

    def codes(self, name: str, key: FormKey) -> tuple[NDArray[np.int8], Floats]:
        """What an int8 form holds: codes [rows, width] and scales [rows, width / 32]."""
        form = self.form(name, key).contents
        size = max(self.rows, 1) * form.width
        codes = np.ctypeslib.as_array((ctypes.c_int8 * size).from_address(form.codes)).reshape(-1, form.width)
        scales = np.ctypeslib.as_array((ctypes.c_float * (size // 32)).from_address(form.scales)).reshape(-1, form.width // 32)
        return codes[: self.rows].copy(), scales[: self.rows].copy()

    def add(self, kind: int, op: Any) -> None:
        self.ops.append((kind, op))

    def convert(self, name: str, key: FormKey) -> Any:
        """A record that brings a buffer into a form; returns the form."""
        form = self.form(name, key)
        self.add(records.CONVERT, records.PcpuConvert(self.buffers[name], 1, self.buffers.form_list([form])))
        return form

    def part(self, src: str, dst: str, packed: PackedMatrix, int8: bool, **more: Any) -> Any:
        """A linear layer with the conversion that it needs."""
        part = records.PcpuPart(matrix=pointer(packed.record), src=self.buffers[src], dst=self.buffers[dst], scale=1.0, **more)
        key = form_key(packed, int8)
        if key is not None:
            part.x = self.convert(src, key)
        return part

    def linear(self, *parts: Any) -> None:
        self.add(records.LINEAR, records.PcpuLinear((records.PcpuPart * len(parts))(*parts), len(parts), 0, 0.0))

    def run(self, lengths: Sequence[int] | None = None, past: Sequence[int] | None = None, **more: Any) -> None:
        """One sequence of all rows from position 0, unless told otherwise. Pages are in order unless given."""
        counts = np.array([self.rows] if lengths is None and self.rows else lengths or [], np.int32)
        before = np.zeros(len(counts), np.int32) if past is None else np.array(past, np.int32)
        page_len = self.cache.record.page_len
        each = int(-(-(before + counts).max() // page_len)) if len(counts) else 0
        pages = more.pop("pages", np.arange(len(counts) * each, dtype=np.int32).reshape(len(counts), each))
        self.run_batch(make_batch(counts, before, pages, more.pop("tokens", None)), **more)

    def run_batch(self, batch: dict[str, Any], max_logits: int = 0) -> None:
        array = (records.PcpuRecord * len(self.ops))()
        for i, (kind, op) in enumerate(self.ops):
            array[i] = records.PcpuRecord(kind, cast(pointer(op), c_void_p))
        program = records.PcpuProgram(array, len(array), max(self.rows, 1), max_logits)
        self.engine.run(program, self.cache.record, to_record(batch))


def make_batch(
    counts: NDArray[np.int32], past: NDArray[np.int32], pages: NDArray[np.int32], tokens: Any = None
) -> dict[str, Any]:
    starts = (np.cumsum(counts) - counts).astype(np.int32)
    total = int(counts.sum())
    positions = (np.arange(total) - np.repeat(starts - past, counts)).astype(np.int32)
    return {
        "tokens": np.zeros(total, np.int32) if tokens is None else np.array(tokens, np.int32),
        "positions": positions,
        "owners": np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        "starts": starts,
        "lengths": counts,
        "past": past,
        "pages": np.ascontiguousarray(pages, np.int32),
        "logit_rows": np.empty(0, np.int32),
        "hidden_rows": np.empty(0, np.int32),
    }


def to_record(batch: dict[str, Any]) -> records.PcpuBatch:
    record = records.PcpuBatch(
        num_tokens=len(batch["tokens"]),
        num_sequences=len(batch["starts"]),
        table_width=batch["pages"].shape[1] if batch["pages"].ndim == 2 else 0,
        num_logit_rows=len(batch["logit_rows"]),
        num_hidden_rows=len(batch["hidden_rows"]),
    )
    for name, value in batch.items():
        if isinstance(value, np.ndarray):
            setattr(record, name, value.ctypes.data)
        else:
            setattr(record, name, value)
    record.keep = batch  # type: ignore[attr-defined]
    return record


def form_key(packed: PackedMatrix, int8: bool) -> FormKey | None:
    if packed.storage in (records.F16, records.F32):
        return None
    kind = records.HALVES if packed.storage == records.BF16 or not int8 else records.INT8
    return kind, packed.width, None if packed.gather is None else packed.gather.tobytes()


# ---- plain twins ----


def to_bf16(x: NDArray[Any]) -> Floats:
    """Rounded to bf16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def to_int8(x: NDArray[Any]) -> Floats:
    """Each 32 numbers of a row as codes and a scale, and back."""
    rows, width = x.shape
    groups = np.zeros((rows, -(-width // 32) * 32), np.float32)
    groups[:, :width] = x
    groups = groups.reshape(rows, -(-width // 32), 32)
    largest = np.abs(groups).max(-1, keepdims=True)
    some = largest > 1e-30
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(some, np.float32(127) / largest, np.float32(0))
    scale = np.where(some, largest / np.float32(127), np.float32(0))
    return (np.rint(groups * inverse) * scale).reshape(rows, groups.shape[1] * 32)[:, :width].astype(np.float32)


def seen_by(packed: PackedMatrix, x: NDArray[Any], int8: bool) -> Floats:
    """What a matrix makes of its input before it multiplies; int8 groups follow its own order of inputs."""
    key = form_key(packed, int8)
    if key is None:
        return np.asarray(x, np.float32)
    rounder = to_int8 if key[0] == records.INT8 else to_bf16
    if packed.gather is None:
        return rounder(x)
    out = np.zeros_like(x, np.float32)
    there = packed.gather >= 0
    picked = np.where(there, x[:, np.maximum(packed.gather, 0)], 0)
    out[:, packed.gather[there]] = rounder(picked)[:, there]
    return out


def product(x: NDArray[Any], matrix: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x · matrixᵀ, and how far off float32 sums may be: a code's share and an offset's may all but cancel."""
    wide, w = x.astype(np.float64), dequantise(matrix).astype(np.float64)
    return wide @ w.T, 4e-6 * (np.abs(wide) @ _magnitudes(matrix).T) + 1e-30


def _magnitudes(matrix: Matrix) -> NDArray[np.float64]:
    if not isinstance(matrix, QuantizedMatrix):
        return np.abs(dequantise(matrix)).astype(np.float64)
    parts = [Segment(s.bits, s.group_len, s.codes, np.abs(s.scales), np.abs(s.offsets)) for s in matrix.segments]
    return dequantise(QuantizedMatrix(tuple(parts), matrix.order)).astype(np.float64)


def random_quantised(rng: np.random.Generator, n: int, cuts: Sequence[tuple[int, int, int]], ordered: bool = False) -> Matrix:
    """A matrix of segments (bits, group_len, inputs) with any scales and offsets."""
    segments = []
    for bits, group_len, num_inputs in cuts:
        groups = -(-num_inputs // group_len)
        scales = rng.uniform(0.01, 0.1, (n, groups)).astype(np.float32)
        offsets = (scales * -rng.uniform(0, 2**bits, (n, groups))).astype(np.float32)
        codes = rng.integers(0, 2**bits, (n, num_inputs)).astype(np.uint8)
        segments.append(Segment(bits, group_len, codes, scales, offsets))
    num_inputs = sum(cut[2] for cut in cuts)
    order = rng.permutation(num_inputs).astype(np.int32) if ordered else None
    return QuantizedMatrix(tuple(segments), order)
