"""The compiled library: found beside this file, opened once per process by whoever needs it, and an `Engine` around it.

An engine is a team of threads with the kernels of one instruction set. One thread at a time may call it; calls release the
GIL for as long as they compute.
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import byref, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from publican.core.errors import EngineError, OutOfMemory
from publican.executors.native.cpu import records
from publican.executors.native.cpu.compile import FOLDER, LIBRARY_NAME
from publican.executors.native.cpu.records import PcpuBatch, PcpuCache, PcpuProgram, PcpuSegment, PcpuSource

_NO_MEMORY = 5


class LibraryMissing(EngineError):
    """The compiled operations are not here, or are of another build; the `plain` backend can take over."""


def load_library(path: Path = FOLDER / LIBRARY_NAME) -> ctypes.CDLL:
    """Open the library and declare its functions.

    Raises:
        LibraryMissing
    """
    if not path.exists():
        raise LibraryMissing(
            f"The C++ operations were not compiled when publican was installed ({path.name} is missing); install a C++ "
            "compiler, or `pip install ziglang`, and install publican again."
        )
    try:
        library = ctypes.CDLL(str(path))
        if library.pcpu_abi() != records.ABI:
            raise LibraryMissing(f"{path.name} is of another version of publican; install publican again.")
    except (OSError, AttributeError) as error:
        raise LibraryMissing(f"{path.name} cannot be loaded ({error}); install publican again.") from error
    _declare(library)
    wrong = [s.__name__ for s in records.STRUCTURES if library.pcpu_sizeof(s.__name__.encode()) != ctypes.sizeof(s)]
    if wrong:
        raise LibraryMissing(f"{path.name} is of another build ({', '.join(wrong)} differ); install publican again.")
    return library


def _declare(library: ctypes.CDLL) -> None:
    library.pcpu_source_hash.restype = c_char_p
    library.pcpu_error_text.restype = c_char_p
    library.pcpu_variant_name.restype = c_char_p
    library.pcpu_engine_variant.restype = c_char_p
    library.pcpu_engine_variant.argtypes = [c_void_p]
    library.pcpu_open.argtypes = [c_int, c_char_p, ctypes.POINTER(c_void_p)]
    library.pcpu_close.argtypes = [c_void_p]
    library.pcpu_run.argtypes = [c_void_p] * 4
    library.pcpu_pack.argtypes = [c_void_p] * 3
    library.pcpu_panel_bytes.argtypes = [c_void_p]
    library.pcpu_panel_bytes.restype = c_int64
    library.pcpu_fit_half.argtypes = [c_void_p, c_void_p, c_int64, c_int]
    library.pcpu_top.argtypes = [c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int, c_void_p, c_void_p, c_void_p]
    library.pcpu_sizeof.argtypes = [c_char_p]
    library.pcpu_sizeof.restype = c_int64


def supported_variants(library: ctypes.CDLL) -> list[str]:
    """The names of the kernels that this CPU can run, the fastest first."""
    numbers = range(library.pcpu_num_variants())
    return [library.pcpu_variant_name(i).decode() for i in numbers if library.pcpu_variant_supported(i)]


class _TopRoom:
    """Where `top` finds its results. Kept, since finding out where an array lies takes longer than many a row."""

    def __init__(self, num_rows: int, count: int) -> None:
        self.indices = np.empty((num_rows, count), np.int32)
        self.values = np.empty((num_rows, count), np.float32)
        self.found = np.empty(num_rows, np.int32)
        self.pointers = [array.ctypes.data for array in (self.indices, self.values, self.found)]


class Engine:
    """A team of `num_threads` threads, the caller being one, with the kernels named `variant` or the best.

    Raises:
        EngineError: the CPU cannot run that variant, or threads cannot be had.
    """

    def __init__(self, library: ctypes.CDLL, num_threads: int, variant: str | None = None) -> None:
        self._library = library
        self._handle = c_void_p()
        self._top_room: _TopRoom | None = None
        self._check(library.pcpu_open(num_threads, variant.encode() if variant else None, byref(self._handle)))
        # An engine that is let go unclosed ends its threads too.
        self._closed = weakref.finalize(self, library.pcpu_close, self._handle)
        self.num_threads = num_threads
        self.variant: str = library.pcpu_engine_variant(self._handle).decode()

    def run(self, program: PcpuProgram, cache: PcpuCache, batch: PcpuBatch) -> None:
        """All records of `program` for one batch."""
        self._check(self._library.pcpu_run(self._handle, byref(program), byref(cache), byref(batch)))

    def pack(self, source: PcpuSource, segment: PcpuSegment) -> None:
        """Fill the memory that `segment` names."""
        self._check(self._library.pcpu_pack(self._handle, byref(source), byref(segment)))

    def panel_bytes(self, segment: PcpuSegment) -> int:
        return int(self._library.pcpu_panel_bytes(byref(segment)))

    def fits_half(self, values: NDArray[np.float32], exact: bool) -> bool:
        """Whether `values`, contiguous, may be kept as float16: exactly, or with no more than half an ulp lost."""
        return bool(self._library.pcpu_fit_half(self._handle, values.ctypes.data, values.size, exact))

    def top(self, logits: NDArray[np.float32], count: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The `count` best of each row [M, V]: their indices and values, [M, count], best first.

        The lower index comes first among equals, and NaN never comes. A row with fewer numbers ends in -1 and -inf.
        """
        num_rows, size = logits.shape
        if logits.dtype != np.float32 or (num_rows and logits.strides[1] != 4):
            raise EngineError("Logits must be rows of float32.")
        if not 0 < count <= records.MAX_TOP:
            raise EngineError(f"The best {count:,} of a row were asked for; 1 to {records.MAX_TOP:,} are to be had.")
        room = self._top_room
        if room is None or room.indices.shape != (num_rows, count):
            room = self._top_room = _TopRoom(num_rows, count)
        stride = logits.strides[0] // 4 if num_rows else size
        address = logits.__array_interface__["data"][0]  # `ctypes.data` makes an object first, which takes ten times as long
        self._check(self._library.pcpu_top(self._handle, address, num_rows, stride, size, count, *room.pointers))
        for row, num_found in enumerate(room.found.tolist()):
            if num_found < count:
                room.indices[row, num_found:] = -1
                room.values[row, num_found:] = -np.inf
        return room.indices.copy(), room.values.copy()

    def close(self) -> None:
        """End the threads. May be called twice."""
        self._closed()
        self._handle = c_void_p()

    def _check(self, error: int) -> None:
        if error == _NO_MEMORY:
            raise OutOfMemory("The computation ran out of memory; make the context or the batch smaller.")
        if error:
            raise EngineError(f"The C++ operations refused to run: {self._library.pcpu_error_text(error).decode()}.")
