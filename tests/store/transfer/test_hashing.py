"""A hash that goes along with a file, rewound wherever a piece changes, is the hash of the file."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.store.transfer.hashing import RunningHash
from publican.store.transfer.pieces import Layout


@given(st.integers(0, 3_000), st.lists(st.tuples(st.integers(0, 299), st.integers(0, 300)), max_size=8))
def test_rewinding(num_bytes: int, steps: list[tuple[int, int]]) -> None:
    layout = Layout(num_bytes, 10)
    data = bytearray(random.Random(num_bytes).randbytes(num_bytes))
    running = RunningHash("sha256", layout)

    def read(piece: int) -> bytes:
        return bytes(data[layout.start(piece) : layout.end(piece)])

    for piece, end in steps:
        running.feed(read, min(end, layout.num_pieces))
        if piece < layout.num_pieces:
            data[layout.start(piece)] ^= 1
            running.rewind(piece)
    running.feed(read, layout.num_pieces)
    assert running.hex() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"", b"hello\n"])
def test_gits_own(data: bytes) -> None:
    layout = Layout(len(data), 4)
    running = RunningHash("git-sha1", layout)
    running.feed(lambda piece: data[layout.start(piece) : layout.end(piece)], layout.num_pieces)
    assert running.hex() == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    if data:
        assert running.hex() == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object of a file with hello
