"""The memory that a program works in: float32 buffers, and the forms of them that matrices of codes read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import POINTER, pointer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from publican.executors.native.cpu import records
from publican.executors.native.cpu.memory import Arena
from publican.executors.native.cpu.records import PcpuActivation, PcpuBuffer

FormKey = tuple[int, int, bytes | None]
"""INT8 or HALVES, width, and the gather's bytes."""


class Buffers:
    """Named buffers of `num_rows` rows each, and their forms, each made once.

    A row is `stride` floats apart from the next: a multiple of 32, with zeros behind the last number, which kernels keep.
    """

    def __init__(self, widths: Mapping[str, int], num_rows: int) -> None:
        self._arena = Arena(chunk_bytes=4 << 20)
        self._num_rows = num_rows
        self._keep: list[Any] = []
        self._forms: dict[tuple[str, FormKey], Any] = {}
        self._buffers = {name: self._buffer(width) for name, width in widths.items()}

    def __getitem__(self, name: str) -> PcpuBuffer:
        return self._buffers[name]

    def _buffer(self, width: int) -> PcpuBuffer:
        stride = stride_of(width)
        return PcpuBuffer(self._array((self._num_rows, stride), np.float32).ctypes.data, width, stride)

    def form(self, buffer: str, key: FormKey) -> Any:
        """A pointer to the form of a buffer's rows."""
        if (buffer, key) not in self._forms:
            self._forms[buffer, key] = pointer(self._make(key))
        return self._forms[buffer, key]

    def _make(self, key: FormKey) -> PcpuActivation:
        kind, width, gather = key
        rows = self._num_rows
        form = PcpuActivation(form=kind, width=width)
        if gather is not None:
            form.gather = self.keep(np.frombuffer(gather, np.int32))
        if kind == records.INT8:
            form.codes = self._array((rows, width), np.int8).ctypes.data
            form.scales = self._array((rows, width // 32), np.float32).ctypes.data
        else:
            form.halves = self._array((rows, width), np.uint16).ctypes.data
        form.sums = self._array((rows, width // 32), np.float32).ctypes.data
        form.sums16 = self._array((rows, width // 16), np.float32).ctypes.data
        return form

    def _array(self, shape: tuple[int, int], dtype: Any) -> NDArray[Any]:
        kind = np.dtype(dtype)
        array: NDArray[Any] = self._arena.allocate(shape[0] * shape[1] * kind.itemsize).view(kind).reshape(shape)
        self._keep.append(array)
        return array

    def keep(self, array: NDArray[Any]) -> int:
        """The address of an array, which lives as long as this does."""
        self._keep.append(array)
        return array.ctypes.data

    def form_list(self, forms: Sequence[Any]) -> Any:
        """A C array of pointers to forms, or None for none."""
        if not forms:
            return None
        array = (POINTER(PcpuActivation) * len(forms))(*forms)
        self._keep.append(array)
        return array


def stride_of(width: int) -> int:
    return -(-width // records.PAD) * records.PAD


def padded(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """`values` with zeros behind them, `size` in all."""
    out = np.zeros(size, np.float32)
    out[: values.size] = values.reshape(-1)
    return out
