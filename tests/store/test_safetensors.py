"""safetensors headers: sound ones agree with the official reader, hostile ones end in one sentence, quickly."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.errors import ModelFileError
from publican.store.safetensors import read_safetensors
from publican.store.source import BytesSource
from tests.store.safetensors_bytes import build, with_header

HERE = Path("model.safetensors")


def read(data: bytes):
    return read_safetensors(BytesSource(data), HERE)


def refused(data: bytes) -> str:
    with pytest.raises(ModelFileError) as caught:
        read(data)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert "model.safetensors" in text
    assert len(text) < 400
    return text


def test_agrees_with_the_official_writer_and_reader(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.arange(5, dtype=np.int64),
        "empty": np.zeros((0, 4), np.float16),
        "scalar": np.array(7, np.uint8),
        "ünïcode": np.array([True, False]),
    }
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path, {"format": "np"})
    data = path.read_bytes()
    tensors, metadata = read_safetensors(BytesSource(data), path)
    assert metadata == {"format": "np"}
    assert tensors.keys() == arrays.keys()
    for name, tensor in tensors.items():
        assert tensor.shape == arrays[name].shape
        assert data[tensor.offset : tensor.offset + tensor.num_bytes] == arrays[name].tobytes()


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **extra: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | extra


def one(**fields: Any) -> bytes:
    return with_header(json.dumps({"t": entry(**fields)}).encode(), b"\0" * 8)


HUGE = 1 << 63
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "only a length": (struct.pack("<Q", 8), "not a safetensors file"),
    "length 2^63": (with_header(b'{"a":1}', header_len=HUGE), "longer than the file"),
    "length past the end": (with_header(b"{}", header_len=3), "longer than the file"),
    "length zero": (with_header(b"{}", header_len=0), "not valid JSON"),
    "gguf": (b"GGUF" + b"\3" * 60, "is a GGUF file"),
    "pickle": (b"\x80\2}q\0" + b"\0" * 60, "pickle"),
    "web page": (b"<html><body>Not found</body></html>", "web page"),
    "leading space": (with_header(b"  {}"), "does not begin with {"),
    "not JSON": (with_header(b'{"a": nope}'), "not valid JSON"),
    "not UTF-8": (with_header(b'{"\xff": 1}'), "not valid JSON"),
    "5,000 digits": (with_header(b'{"a": ' + b"9" * 5_000 + b"}"), "not valid JSON"),
    "deep nesting": (with_header(b'{"a":' + b"[" * 100_000), "nested too deep"),
    "deep objects": (with_header(b'{"a":' * 100_000), "nested too deep"),
    "duplicate": (with_header(b'{"t":1,"t":2}'), "'t' twice"),
    "duplicate field": (with_header(b'{"t":{"dtype":"F32","dtype":"F16"}}'), "'dtype' twice"),
    "entry is a number": (with_header(b'{"t":1}'), "not described"),
    "metadata is a list": (with_header(b'{"__metadata__":[]}'), "table of texts"),
    "metadata is nested": (with_header(b'{"__metadata__":{"a":{}}}'), "table of texts"),
    "no dtype": (one(dtype=None), "unknown type"),
    "dtype list": (one(dtype=["F32"]), "unknown type"),
    "dtype unknown": (one(dtype="F33" * 100), "unknown type"),
    "shape text": (one(shape="2"), "impossible shape"),
    "shape negative": (one(shape=[-2]), "impossible shape"),
    "shape float": (one(shape=[2.0]), "impossible shape"),
    "shape bool": (one(shape=[True]), "impossible shape"),
    "nine dimensions": (one(shape=[1] * 8 + [2]), "impossible shape"),
    "shape overflows": (one(shape=[1 << 62, 1 << 62]), "cannot have 8 bytes"),
    "shape wraps to fit": (one(shape=[(1 << 61) + 2, 8]), "cannot have 8 bytes"),
    "offsets one": (one(offsets=[0]), "impossible place"),
    "offsets reversed": (one(offsets=[8, 0]), "impossible place"),
    "offsets negative": (one(offsets=[-8, 0]), "impossible place"),
    "offsets null": (one(offsets=None), "impossible place"),
    "dtype and shape disagree": (one(dtype="F16"), "cannot have 8 bytes"),
    "half a byte": (one(dtype="F4", shape=[3], offsets=[0, 1]), "cannot have 1 bytes"),
    "outside": (one(shape=[4], offsets=[0, 16]), "truncated"),
    "far outside": (one(shape=[2], offsets=[1 << 62, (1 << 62) + 8]), "hole"),
    "tail": (with_header(b"{}", b"\0" * 5), "5 bytes at the end"),
    "overlap": (with_header(json.dumps({"a": entry(), "b": entry(offsets=[4, 12])}).encode(), b"\0" * 12), "overlaps"),
    "same place": (with_header(json.dumps({"a": entry(), "b": entry()}).encode(), b"\0" * 8), "overlaps"),
    "hole": (with_header(json.dumps({"a": entry(), "b": entry(offsets=[12, 20])}).encode(), b"\0" * 20), "hole"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str) -> None:
    data, says = HOSTILE[case]
    assert says in refused(data)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"[" * (100 << 20),
        b'{"a":[' + b"{}," * (9 << 20),
        b'{"a":[' + b"1," * (15 << 20),
        b'{"a":"' + b"x" * (30 << 20),
    ],
    ids=["100 MB of brackets", "objects", "numbers", "text"],
)
def test_large_headers_cost_little(body: bytes) -> None:
    data = with_header(body)
    tracemalloc.start()
    start = time.perf_counter()
    refused(data)
    took_s = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6
    assert took_s < 10


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_flipped_header_is_read_as_the_official_reader_does_or_refused(data: st.DataObject) -> None:
    sound = build({"a": ("F32", [2, 2], b"\0" * 16), "b": ("I8", [3], b"abc")}, {"format": "pt"})
    raw = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        tensors, _ = read(bytes(raw))
    except ModelFileError:
        return
    for tensor in tensors.values():
        assert 0 <= tensor.offset <= tensor.offset + tensor.num_bytes <= len(raw)
    with suppress(safetensors.SafetensorError):  # it knows fewer types, and wants an even stricter header
        theirs = safetensors.deserialize(bytes(raw))
        assert {name: (t["dtype"], tuple(t["shape"])) for name, t in theirs} == {
            name: (t.dtype, t.shape) for name, t in tensors.items()
        }


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes(body: bytes, header_len: int) -> None:
    with suppress(ModelFileError):
        read(with_header(body, header_len=header_len))
