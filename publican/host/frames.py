"""Messages between the host process and a worker, over the worker's stdin and stdout.

A frame is its length in four bytes, little-endian, and a pickle. Both ends are the same program of the same user, one the
parent of the other; the pipe has no other reader or writer.
"""

from __future__ import annotations

import pickle
import struct
from asyncio import IncompleteReadError, StreamReader
from dataclasses import dataclass
from typing import Any, BinaryIO

from publican.core.errors import PublicanError
from publican.core.executor import ExecutorInfo

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Loading:
    """The worker is reading the model: `done` of `total` tensors, or of whatever its executor counts."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded. `load_s` is how long that took, `resident_bytes` what the worker then occupies of main memory,
    `gpu_bytes` by how much the free memory of GPUs shrank meanwhile (0: unknown)."""

    info: ExecutorInfo
    load_s: float
    resident_bytes: int
    gpu_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model cannot be loaded; the worker ends."""

    error: PublicanError


@dataclass(frozen=True, slots=True)
class Logged:
    """A line for the log, which the host keeps: one log, in one form. `level` and `logger` are as `logging` has them."""

    level: int
    logger: str
    text: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? A worker's reader answers at once, whatever its engine does."""


@dataclass(frozen=True, slots=True)
class Pong:
    """Here I am. The present step has taken `step_s` until now; 0 between steps."""

    step_s: float


def encode(message: Any) -> bytes:
    data = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(data)) + data


def read(source: BinaryIO) -> Any | None:
    """The next message, blocking; None at the end of the stream."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = source.read(length)
    return pickle.loads(data) if len(data) == length else None


async def read_async(source: StreamReader) -> Any | None:
    """The next message; None at the end of the stream."""
    try:
        (length,) = _LENGTH.unpack(await source.readexactly(_LENGTH.size))
        return pickle.loads(await source.readexactly(length))
    except (IncompleteReadError, ConnectionError):
        return None
