"""`PartFile`: a file on its way, and the journal that remembers it through any end of this process.

    <key>.part       the data, sized from the start, with holes
    <key>.journal    what of it is there (see `journal`)
    <key>            the data again, once its hash was right: renamed in one step

Its methods block on the disk and may be called from any thread: one lock, which is also held while closing, so that nothing
writes to a file that is closed. A second process that wants the same file is refused.
"""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from publican.core.errors import ModelFileError
from publican.store.transfer.journal import Journal, sync_folder
from publican.store.transfer.pieces import Layout

if os.name == "nt":
    import msvcrt
else:
    import fcntl


class PartFile:
    """Opened by `PartFile.open`; `close` before it is let go.

    Attributes:
        crcs: the CRC-32 of every piece that is here.
    """

    def __init__(self, path: Path, layout: Layout, data: BinaryIO, journal_file: BinaryIO) -> None:
        self.path = path
        self.layout = layout
        self.crcs: dict[int, int] = {}
        self._data = data
        self._journal_file = journal_file
        self._journal: Journal
        self._lock = threading.Lock()
        self._dirty = False

    @staticmethod
    def open(path: Path, layout: Layout, fingerprint: bytes) -> PartFile:
        """The fetch of `path` as it was left, or a new one.

        Args:
            fingerprint: 32 bytes that say what is being fetched; a fetch of something else is not gone on with.

        Raises:
            ModelFileError: the disk refuses, or another process is at it.
        """
        with _translated(path):
            part, journal_path = _beside(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            journal_file = _open(journal_path)
            data: BinaryIO | None = None
            try:
                _lock(journal_file, path)
                data = _open(part)
                file = PartFile(path, layout, data, journal_file)
                file._resume(fingerprint)
            except BaseException:
                journal_file.close()
                if data is not None:
                    data.close()
                raise
            return file

    def write(self, piece: int, data: bytes) -> bool:
        """Keep a piece; returns whether it differs from what was here (or nothing was). What is the same is not written."""
        crc = zlib.crc32(data)
        with self._lock, _translated(self.path):
            if self._data.closed:
                return False
            if self.crcs.get(piece) == crc:
                return False
            self._data.seek(self.layout.start(piece))
            _write_all(self._data, data)
            self._journal.record([(piece, crc)])
            self.crcs[piece] = crc
            self._dirty = True
            return True

    def read(self, piece: int) -> bytes:
        with self._lock, _translated(self.path):
            return self._read(piece)

    def damaged(self, pieces: Iterable[int], stop: Callable[[], bool] = lambda: False) -> list[int]:
        """Which of `pieces` no longer read as they were written; they are forgotten, and so to be fetched."""
        bad = []
        for piece in pieces:
            if stop():
                break
            with self._lock, _translated(self.path):
                if not self._data.closed and zlib.crc32(self._read(piece)) != self.crcs.get(piece):
                    bad.append(piece)
                    self.crcs.pop(piece, None)
        return bad

    def sync(self) -> None:
        """Force to disk what was written; after a loss of power nothing of it need be looked at."""
        with self._lock, _translated(self.path):
            if self._dirty and not self._data.closed:
                self._dirty = False
                os.fsync(self._data.fileno())
                self._journal.barrier()

    def finish(self) -> None:
        """The content is right: give the file its name, for good. Closes."""
        with self._lock, _translated(self.path):
            os.fsync(self._data.fileno())
            self._close()
            part, journal_path = _beside(self.path)
            part.replace(self.path)
            sync_folder(self.path.parent)
            journal_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """The content is wrong and nobody can say where: keep nothing. Closes."""
        with self._lock, _translated(self.path):
            self._close()
            for path in _beside(self.path):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go, to go on another time. May be called twice."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._data.close()
        self._journal_file.close()

    def _resume(self, fingerprint: bytes) -> None:
        resumed = Journal.resume(self._journal_file, self.layout, fingerprint)
        if resumed is None or self._data.seek(0, os.SEEK_END) != self.layout.num_bytes:
            self._data.truncate(0)
            self._data.truncate(self.layout.num_bytes)
            self._journal = Journal.create(self._journal_file, self.layout, fingerprint)
            sync_folder(self.path.parent)
            return
        self._journal, recorded = resumed
        self.crcs = recorded.crcs
        self.damaged(sorted(recorded.unsure))
        self._dirty = bool(recorded.unsure)

    def _read(self, piece: int) -> bytes:
        if self._data.closed:
            return b""
        self._data.seek(self.layout.start(piece))
        wanted = self.layout.size(piece)
        parts = []
        while wanted > 0 and (data := self._data.read(wanted)):
            parts.append(data)
            wanted -= len(data)
        return b"".join(parts)


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.journal")


def _open(path: Path) -> BinaryIO:
    """For reading and writing, without following a link that somebody put there."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o644), "r+b", buffering=0)


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        if os.name == "nt":
            file.seek(1 << 40)  # far behind the content, which others may still read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            file.seek(0)
        else:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise ModelFileError(f"Another publican is fetching {path.name} right now; wait until it is done.") from None
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelFileError(
                f"The disk of {path.parent} is full; make room and pull again, it goes on from here."
            ) from None
        raise ModelFileError(f"{path.parent} cannot be written to: {error.strerror or error}.") from None
