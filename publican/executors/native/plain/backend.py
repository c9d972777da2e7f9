"""`PlainBackend`: goes through a program's operations, one function each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from publican.core.cache_types import check_kv_type
from publican.core.errors import EngineError
from publican.executors.native.batch import Batch
from publican.executors.native.config import NativeConfig
from publican.executors.native.layout import DenseMatrix, Matrix, QuantizedMatrix, dequantise
from publican.executors.native.plain.cache import KVCache, KVType
from publican.executors.native.plain.operations import OPERATIONS, Step
from publican.executors.native.program import Embed, Expert, Experts, Floats, Logits, LowRank, Op, Program


class PlainBackend:
    """Follows `native.batch.Backend`. Its threads are those of NumPy's BLAS."""

    device = "cpu (NumPy)"
    top = None

    def __init__(
        self, program: Program, num_pages: int, page_len: int, kv_type: KVType = "f32", num_windowed_pages: int = 0
    ) -> None:
        self._program = dataclasses.replace(program, ops=tuple(_dense_ops(program)))
        self._places = program.kv_places(num_windowed_pages > 0)
        num_layers = program.num_kv_layers(num_windowed_pages > 0)
        self._caches = [
            KVCache(number, count, page_len, program.num_kv_heads, program.head_dim, kv_type)
            for number, count in zip(num_layers, (num_pages, num_windowed_pages), strict=True)
        ]

    def copy_page(self, source: int, target: int, is_windowed: bool = False) -> None:
        self._caches[is_windowed].copy_page(source, target)

    @property
    def kv_bytes(self) -> int:
        """What keys and values take."""
        return sum(cache.num_bytes for cache in self._caches)

    def run(self, batch: Batch) -> tuple[Floats, Floats | None]:
        if not self._program.ops:
            raise EngineError("The backend is closed.")
        num_rows = len(batch.tokens)
        buffers = {name: np.empty((num_rows, width), np.float32) for name, width in self._program.buffers.items()}
        step = Step(self._program, batch, self._caches[0], buffers, self._caches[1], self._places)
        for op in self._program.ops:
            OPERATIONS[type(op)](op, step)
        return step.logits, step.hidden if len(batch.hidden_rows) else None

    def close(self) -> None:
        self._program = dataclasses.replace(self._program, ops=())
        self._caches = [KVCache(0, 0, 1, 1, 1)] * 2


def make_backend(program: Program, config: NativeConfig) -> PlainBackend:
    """Load `program`. Raises SettingsError for a type of cache that is not here."""
    kv_types: dict[str, KVType] = {"auto": "f32", "f32": "f32", "q8": "q8", "q4": "q4"}
    check_kv_type("plain", program.head_dim, config.kv_dtype)
    return PlainBackend(program, config.num_pages, config.page_len, kv_types[config.kv_dtype], config.num_windowed_pages)


def _dense_ops(program: Program) -> Iterator[Op]:
    """The operations with float32 weights."""
    table: tuple[Matrix, Matrix] | None = None
    for op in program.ops:
        if isinstance(op, Logits) and table is not None and op.weight is table[0]:
            yield dataclasses.replace(op, weight=table[1])
            continue
        dense = _dense_weights(op)
        if isinstance(op, Embed):
            table = op.table, dense["table"]
        if isinstance(op, Experts):
            dense["experts"] = tuple(dataclasses.replace(e, **_dense_weights(e)) for e in op.experts)
        yield dataclasses.replace(op, **dense)


def _dense_weights(op: Op | Expert) -> dict[str, Any]:
    dense: dict[str, Any] = {}
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if isinstance(value, QuantizedMatrix | DenseMatrix):
            dense[field.name] = DenseMatrix(dequantise(value))
        elif isinstance(value, tuple) and all(isinstance(each, LowRank) for each in value):
            dense[field.name] = tuple(_dense_low_rank(each) for each in value)
    return dense


def _dense_low_rank(of: LowRank) -> LowRank:
    return dataclasses.replace(of, down=DenseMatrix(dequantise(of.down)), up=DenseMatrix(dequantise(of.up)))
