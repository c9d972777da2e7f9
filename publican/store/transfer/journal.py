"""The journal beside a half-fetched file: which pieces are on disk, and the checksum of each.

    header   magic, size of the file, size of a piece, fingerprint of what is being fetched, CRC-32 of all that
    record   piece, CRC-32 of its bytes, CRC-32 of these eight        one for each piece that was written
    record   0xFFFFFFFF, 0, CRC-32 of these eight                     a barrier: all above is safe on disk

Records are appended without waiting. A barrier is written only after the data was forced to disk, and forced itself. So
after a crash of this process everything recorded is there; after a loss of power everything above the last barrier is,
and the reader must look at the data of what comes below it. A torn record ends the journal. Called by `part`, under its lock.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from publican.store.transfer.pieces import Layout

_MAGIC = b"publican1"
_HEADER = struct.Struct("<9sQI32s")
_RECORD = struct.Struct("<II")
_CHECK = struct.Struct("<I")
_HEADER_BYTES = _HEADER.size + _CHECK.size
_RECORD_BYTES = _RECORD.size + _CHECK.size
_BARRIER = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a journal says: piece to CRC-32. Those in `unsure` were written after the last barrier."""

    crcs: dict[int, int]
    unsure: frozenset[int]


class Journal:
    """Open for appending.

    Args:
        file: positioned anywhere; what is in it beyond `num_bytes` is cut off.
    """

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        self._file = file
        self._file.truncate(num_bytes)
        self._file.seek(num_bytes)

    @staticmethod
    def create(file: BinaryIO, layout: Layout, fingerprint: bytes) -> Journal:
        """An empty journal in `file`, on disk when this returns. `fingerprint`: 32 bytes."""
        file.truncate(0)
        file.seek(0)
        file.write(_sealed(_HEADER.pack(_MAGIC, layout.num_bytes, layout.piece_bytes, fingerprint)))
        journal = Journal(file, _HEADER_BYTES)
        journal._force()
        return journal

    @staticmethod
    def resume(file: BinaryIO, layout: Layout, fingerprint: bytes) -> tuple[Journal, Recorded] | None:
        """The journal in `file`; None if it is of another fetch, or of none."""
        file.seek(0)
        data = file.read()
        if data[:_HEADER_BYTES] != _sealed(_HEADER.pack(_MAGIC, layout.num_bytes, layout.piece_bytes, fingerprint)):
            return None
        crcs: dict[int, int] = {}
        unsure: set[int] = set()
        at = _HEADER_BYTES
        while (record := _unsealed(data[at : at + _RECORD_BYTES])) is not None:
            piece, crc = _RECORD.unpack(record)
            at += _RECORD_BYTES
            if piece == _BARRIER:
                unsure.clear()
            elif piece < layout.num_pieces:
                crcs[piece] = crc
                unsure.add(piece)
        return Journal(file, at), Recorded(crcs, frozenset(unsure))

    def record(self, crcs: Iterable[tuple[int, int]]) -> None:
        """These pieces, with these checksums, have been handed to the operating system."""
        self._file.write(b"".join(_sealed(_RECORD.pack(piece, crc)) for piece, crc in crcs))
        self._file.flush()

    def barrier(self) -> None:
        """All that is recorded is safe on disk; the data was forced there before this is called."""
        self._file.write(_sealed(_RECORD.pack(_BARRIER, 0)))
        self._force()

    def _force(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def sync_folder(folder: Path) -> None:
    """Make names in `folder` durable, where the system has a way to (Windows has none)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sealed(data: bytes) -> bytes:
    return data + _CHECK.pack(zlib.crc32(data))


def _unsealed(data: bytes) -> bytes | None:
    if len(data) != _RECORD_BYTES or _CHECK.unpack_from(data, _RECORD.size)[0] != zlib.crc32(data[: _RECORD.size]):
        return None
    return data[: _RECORD.size]
