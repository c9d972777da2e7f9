"""Where bytes of a model file come from: a file on disk, or bytes at hand.

A header reader asks a `Source` for ranges and nothing else, so the same parsers read a remote file by range requests:
that is one more class with these two members. Not thread-safe; whoever opens a source owns it.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol

from publican.core.errors import ModelFileError


def expanded(text: str) -> Path:
    """`text` as a path. ``~`` is a home; of somebody who is not known here it is left as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


class Source(Protocol):
    """A file of known size that can be read at any place."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def read(self, offset: int, num_bytes: int) -> bytes:
        """The bytes from `offset` on; fewer than `num_bytes` only where the file ends. Blocks.

        Raises:
            ModelFileError: they cannot be had.
        """
        ...


class FileSource:
    """A file on disk, open until `close`.

    Raises:
        ModelFileError: on construction, if the file is not there or may not be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb", buffering=0)
            self.size = self._file.seek(0, 2)
        except FileNotFoundError:
            raise ModelFileError(f"There is no file {path}.") from None
        except IsADirectoryError:
            raise ModelFileError(f"{path} is a folder, not a model file.") from None
        except OSError as error:
            raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from None

    def read(self, offset: int, num_bytes: int) -> bytes:
        try:
            self._file.seek(offset)
            parts = []
            while num_bytes > 0 and (part := self._file.read(num_bytes)):
                parts.append(part)
                num_bytes -= len(part)
        except OSError as error:
            raise ModelFileError(f"{self._path} cannot be read: {error.strerror or error}.") from None
        return b"".join(parts)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class BytesSource:
    """Bytes that are already here."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, num_bytes: int) -> bytes:
        return self._data[offset : offset + num_bytes]
