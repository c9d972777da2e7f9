"""Reads the numbers, strings and arrays of a GGUF header, forward, from bytes that nobody vouches for.

Every length is checked against the file and the limits before anything is allocated: work and memory are bounded by the
bytes that are really there, and by `MAX_HEADER_BYTES` and `MAX_ELEMENTS` beyond that. Knows nothing of keys or tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NoReturn

from publican.core.errors import ModelFileError
from publican.store.source import Source

MAX_HEADER_BYTES = 64 << 20
"""Far above any real header: a vocabulary of 262,144 tokens with scores and merges takes 20 MB."""

MAX_ELEMENTS = 1 << 22
"""Elements of all arrays together. Three times what the largest vocabularies have."""

_STRING, _ARRAY, _BOOL = 8, 9, 7
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d"}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_FIRST_BLOCK = 1 << 20


def decode(raw: bytes) -> str:
    """Text of a header; bytes that are not UTF-8 survive as lone surrogates (PEP 383)."""
    return raw.decode("utf-8", "surrogateescape")


class Cursor:
    """A place in a header that moves forward.

    Args:
        source: the file; read in blocks that double, from its beginning.
        name: what errors call it.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.at = 0
        self._source = source
        self._name = name
        self._buffer = source.read(0, _FIRST_BLOCK)
        self._num_elements = 0

    def fail(self, what: str) -> NoReturn:
        raise ModelFileError(f"The header of {self._name} is damaged: {what}; download the file again.")

    def num_left(self) -> int:
        """Bytes from here to the end of the file."""
        return self._source.size - self.at

    def take(self, num_bytes: int, what: str) -> int:
        """Move over `num_bytes`, which are then in the buffer; returns where they begin."""
        start = self.at
        self._fill(start + num_bytes, what)
        self.at = start + num_bytes
        return start

    def u32(self, what: str) -> int:
        start = self.take(4, what)
        return int(_U32.unpack_from(self._buffer, start)[0])

    def u64(self, what: str) -> int:
        start = self.take(8, what)
        return int(_U64.unpack_from(self._buffer, start)[0])

    def raw_string(self, what: str, max_len: int) -> bytes:
        """A string's bytes: a length in eight bytes, then as many."""
        length = self.u64(what)
        if length > max_len and length <= self.num_left():
            self.fail(f"{what} is {length:,} bytes long, more than {max_len:,}")
        start = self.take(length, what)
        return self._buffer[start : self.at]

    def value(self, kind: int, what: str) -> Any:
        """A value of GGUF type `kind`: a number, a bool, a str, or a tuple of one of them."""
        if kind == _STRING:
            return decode(self.raw_string(what, MAX_HEADER_BYTES))
        if kind == _ARRAY:
            return self._array(what)
        return self._numbers(kind, 1, what)[0]

    def _array(self, what: str) -> tuple[Any, ...]:
        kind, count = self.u32(what), self.u64(what)
        if kind == _ARRAY:
            self.fail(f"{what} is an array of arrays, which GGUF readers do not accept")
        self._num_elements += count
        if self._num_elements > MAX_ELEMENTS:
            self.fail(f"{what} has {count:,} elements, and {MAX_ELEMENTS:,} in all are the most")
        return self._strings(count, what) if kind == _STRING else self._numbers(kind, count, what)

    def _numbers(self, kind: int, count: int, what: str) -> tuple[Any, ...]:
        code = _CODES.get(kind)
        if code is None:
            self.fail(f"{what} has the unknown type {kind}")
        layout = struct.Struct(f"<{count}{code}")
        start = self.take(layout.size, what)  # may replace the buffer
        return layout.unpack_from(self._buffer, start)

    def _strings(self, count: int, what: str) -> tuple[str, ...]:
        """Hot: half a million strings in the largest vocabularies, so nothing is looked up inside the loop."""
        if count > self.num_left() // 8:
            self.fail(f"{what} says that it has {count:,} strings, more than fit into the file")
        strings: list[str] = []
        append: Callable[[str], None] = strings.append
        unpack = _U64.unpack_from
        buffer, at = self._buffer, self.at
        end = len(buffer)
        for _ in range(count):
            if at + 8 > end:
                buffer = self._fill(at + 8, what)
                end = len(buffer)
            (length,) = unpack(buffer, at)
            at += 8
            stop = at + length
            if stop > end:
                buffer = self._fill(stop, what)
                end = len(buffer)
            append(buffer[at:stop].decode("utf-8", "surrogateescape"))
            at = stop
        self.at = at
        return tuple(strings)

    def _fill(self, end: int, what: str) -> bytes:
        """Make the buffer reach to `end`, counted from the beginning of the file; returns it."""
        if end <= len(self._buffer):
            return self._buffer
        if end > self._source.size:
            self.fail(f"{what} runs past the end of the file")
        if end > MAX_HEADER_BYTES:
            self.fail(f"it is larger than {MAX_HEADER_BYTES >> 20} MiB at {what}")
        wanted = min(max(end, 2 * len(self._buffer)), MAX_HEADER_BYTES, self._source.size)
        self._buffer += self._source.read(len(self._buffer), wanted - len(self._buffer))
        if end > len(self._buffer):
            self.fail(f"{what} could not be read")
        return self._buffer
