"""Headers of remote files: their beginnings are fetched, as far as the parsers want them, and nothing else.

The parsers read from a `Source`; this one knows the file's size and its first bytes, and says when it is asked for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from publican.core.errors import ModelFileError
from publican.store.http.remote_file import RemoteFile

FIRST_BYTES = 256 << 10
"""Enough for nearly every safetensors header; GGUF headers hold the vocabulary, and take 1 to 20 MB."""
MAX_PREFIX_BYTES = 80 << 20

T = TypeVar("T")


class _NotFetchedError(Exception):
    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class PrefixSource:
    """A `Source` of which only the beginning is here."""

    def __init__(self, data: bytes, size: int) -> None:
        self.size = size
        self._data = data

    def read(self, offset: int, num_bytes: int) -> bytes:
        end = min(self.size, offset + num_bytes)
        if end > len(self._data):
            raise _NotFetchedError(end)
        return self._data[offset:end]


async def parse_remote(file: RemoteFile, parse: Callable[[PrefixSource], T], first_bytes: int = FIRST_BYTES) -> T:
    """What `parse` makes of a remote file, whose beginning is fetched in steps that double, from `first_bytes` on.

    Parsing runs on a thread: it takes up to 0.3 s for the largest vocabularies.

    Raises:
        ModelFileError: what `parse` raises; or the file cannot be had.
    """
    data = bytearray(await file.read(0, first_bytes))
    while True:
        size = file.num_bytes if file.num_bytes is not None else len(data)
        try:
            return await asyncio.to_thread(parse, PrefixSource(bytes(data), size))
        except _NotFetchedError as error:
            wanted = error.end
        if wanted > MAX_PREFIX_BYTES:
            raise ModelFileError(f"The header of {file.what} is larger than {MAX_PREFIX_BYTES >> 20} MiB; get another copy.")
        end = min(size, max(wanted, 2 * len(data)), MAX_PREFIX_BYTES)
        data += await file.read(len(data), end - len(data))
