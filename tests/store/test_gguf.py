"""GGUF headers: sound ones agree with two other readers, hostile ones end in one sentence, quickly."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.errors import ModelFileError
from publican.store.gguf import read_gguf, read_header
from publican.store.gguf_cursor import MAX_ELEMENTS, MAX_HEADER_BYTES
from publican.store.source import BytesSource
from tests.store.gguf_bytes import RawTensor, build, string, tiny_llama, value

HERE = Path("model.gguf")


def read(data: bytes):
    return read_header(BytesSource(data), HERE)


def refused(data: bytes) -> str:
    with pytest.raises(ModelFileError) as caught:
        read(data)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert "model.gguf" in text
    assert len(text) < 400
    return text


def test_every_kind_of_value() -> None:
    kinds = {
        "u8": struct.pack("<IB", 0, 200),
        "i8": struct.pack("<Ib", 1, -3),
        "u16": struct.pack("<IH", 2, 65_000),
        "i16": struct.pack("<Ih", 3, -300),
        "u32": struct.pack("<II", 4, 1 << 31),
        "i32": struct.pack("<Ii", 5, -5),
        "f32": struct.pack("<If", 6, 0.5),
        "bool": struct.pack("<IB", 7, 1),
        "string": struct.pack("<I", 8) + string("Grüße"),
        "u64": struct.pack("<IQ", 10, 1 << 63),
        "i64": struct.pack("<Iq", 11, -(1 << 62)),
        "f64": struct.pack("<Id", 12, 0.1),
        "strings": value(["a", "", "ü"]),
        "bools": value([True, False]),
        "floats": value([0.25, 0.5]),
        "nothing": value([]),
    }
    header = read(build(list(kinds.items())))
    assert header.metadata == {
        "u8": 200, "i8": -3, "u16": 65_000, "i16": -300, "u32": 1 << 31, "i32": -5, "f32": 0.5, "bool": True, "string": "Grüße",
        "u64": 1 << 63, "i64": -(1 << 62), "f64": 0.1, "strings": ("a", "", "ü"), "bools": (True, False), "floats": (0.25, 0.5),
        "nothing": (),
    }  # fmt: skip
    assert header.metadata["bool"] is True


def test_tensors_lie_where_they_say() -> None:
    tensors = [RawTensor(b"a", (64, 3), 3, 0), RawTensor(b"b", (4,), 0, 128), RawTensor(b"c", (), 1, 160)]
    header = read(build({"general.alignment": 32}, tensors, b"\0" * 162))
    a, b, c = header.tensors
    assert (a.dtype, a.shape, a.num_bytes) == ("Q4_1", (3, 64), 120)
    assert (b.dtype, b.shape, b.num_bytes) == ("F32", (4,), 16)
    assert (c.dtype, c.shape, c.num_bytes) == ("F16", (), 2)
    assert a.offset % 32 == 0
    assert [b.offset - a.offset, c.offset - a.offset] == [128, 160]


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions(version: int) -> None:
    assert read(build({"k": 1}, version=version)).version == version


def test_text_that_is_not_utf8_keeps_its_bytes() -> None:
    text = read(build([("k", struct.pack("<I", 8) + string(b"\xff\xfe"))])).metadata["k"]
    assert text.encode("utf-8", "surrogateescape") == b"\xff\xfe"


def test_default_model_agrees_with_the_gguf_package(default_model: Path) -> None:
    ours, theirs = read_gguf(default_model), gguf.GGUFReader(default_model)
    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert set(ours.metadata) == set(fields)
    for name, ours_value in ours.metadata.items():
        assert fields[name] == (list(ours_value) if isinstance(ours_value, tuple) else ours_value), name
    for a, b in zip(ours.tensors, theirs.tensors, strict=True):
        assert (a.name, a.dtype, list(a.shape)) == (b.name, b.tensor_type.name, [int(d) for d in reversed(b.shape)])
        assert (a.offset, a.num_bytes) == (b.data_offset, b.n_bytes)


def test_ggml_types_agree_with_libggml() -> None:
    import ctypes

    import llama_cpp

    from publican.store.ggml_types import GGML_TYPES, REMOVED_TYPES

    library = ctypes.CDLL(str(next((Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.so"))))
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_name.restype = ctypes.c_char_p
    for kind, (name, block_len, block_bytes) in GGML_TYPES.items():
        assert (library.ggml_blck_size(kind), library.ggml_type_size(kind)) == (block_len, block_bytes), name
        assert library.ggml_type_name(kind).decode().upper() == name.upper()
    assert all(library.ggml_blck_size(kind) == 0 for kind in REMOVED_TYPES)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\0" * 100, "zeros"),
        (b"GGUF", "version 0"),
        (b"GGUF" + struct.pack("<I", 1) + b"\0" * 8, "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + b"\0" * 16, "big-endian"),
        (b"GGUF" + struct.pack("<I", 4) + b"\0" * 16, "version 4"),
        (b"lmgg" + b"\0" * 60, "GGML file"),
        (b"fmgg" + struct.pack("<I", 1) + b"\0" * 60, "GGMF file"),
        (b"tjgg" + struct.pack("<I", 3) + b"\0" * 60, "convert_llama_ggml_to_gguf"),
        (b"algg" + struct.pack("<I", 1) + b"\0" * 60, "LoRA"),
        (b"PK\3\4" + b"\0" * 60, "PyTorch"),
        (b"\x80\2}q\0" + b"\0" * 60, "pickle"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "LFS"),
        (struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}', "safetensors"),
        (b"just some text", "not a GGUF model"),
    ],
)
def test_what_is_not_gguf_is_named(data: bytes, says: str) -> None:
    assert says in refused(data)


HUGE = 1 << 63
ONE = RawTensor(b"t", (32,), 0, 0)
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "2^63 keys": (lambda: build({}, counts=(0, HUGE)), "keys"),
    "2^64-1 tensors": (lambda: build({}, counts=((1 << 64) - 1, 0)), "tensors"),
    "more keys than fit": (lambda: build({"a": 1}, counts=(0, 60_000)) + b"\0" * 9, "keys"),
    "key past the end": (lambda: build([(b"", b"")]) + struct.pack("<Q", HUGE), "damaged"),
    "key name length 2^63": (lambda: build([], counts=(0, 1), alignment=1) + struct.pack("<QQQ", HUGE, 0, 0), "past the end"),
    "key too long": (lambda: build([(b"k" * 70_000, value(1))]), "70,000 bytes long"),
    "empty key": (lambda: build([("", value(1))]), "no name"),
    "duplicate key": (lambda: build([("k", value(1)), ("k", value(2))]), "twice"),
    "unknown value type": (lambda: build([("k", struct.pack("<II", 13, 0))]), "unknown type 13"),
    "string past the end": (lambda: build([("k", struct.pack("<IQ", 8, 1 << 40))]), "past the end"),
    "array of 2^63": (lambda: build([("k", struct.pack("<IIQ", 9, 0, HUGE))]), "elements"),
    "array past the end": (lambda: build([("k", struct.pack("<IIQ", 9, 10, 1_000_000))]), "past the end"),
    "strings past the end": (lambda: build([("k", struct.pack("<IIQ", 9, 8, 1_000_000))]), "strings"),
    "a string of strings past the end": (lambda: build([("k", struct.pack("<IIQQQ", 9, 8, 2, 0, 99))]), "past the end"),
    "nested arrays": (lambda: build([("k", struct.pack("<IIQ", 9, 9, 1) + value([1]))]), "array of arrays"),
    "array of unknown": (lambda: build([("k", struct.pack("<IIQ", 9, 77, 1) + b"\0" * 8)]), "unknown type 77"),
    "truncated scalar": (lambda: build([("k", struct.pack("<I", 10) + b"\0" * 3)], alignment=1), "past the end"),
    "alignment 0": (lambda: build({"general.alignment": 0}), "alignment"),
    "alignment 3": (lambda: build({"general.alignment": 3}), "alignment"),
    "alignment text": (lambda: build({"general.alignment": "x" * 500}), "alignment"),
    "alignment true": (lambda: build({"general.alignment": True}), "alignment"),
    "long tensor name": (lambda: build({}, [ONE._replace(name=b"n" * 65)], b"\0" * 128), "65 bytes"),
    "duplicate tensor": (lambda: build({}, [ONE, ONE._replace(offset=128)], b"\0" * 256), "twice"),
    "five dimensions": (lambda: build({}, [ONE._replace(dims=(1,) * 5)], b"\0" * 128), "5 dimensions"),
    "2^32-1 dimensions": (
        lambda: build({}, counts=(1, 0), alignment=1) + string("t") + struct.pack("<I", 0xFFFFFFFF) * 9,
        "4,294,967,295 dimensions",
    ),
    "overflowing shape": (lambda: build({}, [ONE._replace(dims=(1 << 32, 1 << 32, 1 << 32))], b"\0" * 128), "impossible"),
    "shape that wraps to fit": (lambda: build({}, [ONE._replace(dims=(1 << 63, 2))], b"\0" * 128), "impossible"),
    "empty dimension": (lambda: build({}, [ONE._replace(dims=(0, 4))], b"\0" * 128), "impossible"),
    "unknown tensor type": (lambda: build({}, [ONE._replace(kind=1_000)], b"\0" * 128), "unknown type"),
    "removed tensor type": (lambda: build({}, [ONE._replace(kind=31)], b"\0" * 128), "Q4_0_4_4"),
    "half a block": (lambda: build({}, [ONE._replace(dims=(16, 2), kind=2)], b"\0" * 128), "multiple of Q4_0's 32"),
    "misaligned": (lambda: build({}, [ONE._replace(offset=8)], b"\0" * 200), "alignment"),
    "outside": (lambda: build({}, [ONE._replace(offset=1 << 50)], b"\0" * 128), "truncated"),
    "offset 2^64-32": (lambda: build({}, [ONE._replace(offset=(1 << 64) - 32)], b"\0" * 128), "truncated"),
    "overlapping": (lambda: build({}, [ONE, ONE._replace(name=b"u", offset=64)], b"\0" * 256), "overlap"),
    "truncated data": (lambda: build({}, [ONE], b"\0" * 127), "truncated"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str) -> None:
    make, says = HOSTILE[case]
    assert says in refused(make())


def test_every_truncation_is_refused() -> None:
    data = tiny_llama()
    for end in [*range(0, 1_200, 7), len(data) - 1]:
        refused(data[:end])
    assert len(read(data).tensors) == 11


@pytest.mark.parametrize(
    "make",
    [
        lambda: build([("k", struct.pack("<I", 8) + string(b"x" * (100 << 20)))]),
        lambda: build([("k", struct.pack("<IIQ", 9, 0, 100 << 20) + b"x" * (100 << 20))]),
        lambda: build([("k", struct.pack("<IIQ", 9, 8, 12 << 20) + b"\0" * (96 << 20))]),
        lambda: build([(f"key {i:06}", struct.pack("<I", 8) + string(b"x" * 1_600)) for i in range(65_000)]),
        lambda: build({}, counts=(100_000, 60_000)) + b"\0" * (100 << 20),
    ],
    ids=["string", "bytes", "strings", "keys", "zeros"],
)
def test_a_header_of_100_megabytes_costs_little(make: Callable[[], bytes]) -> None:
    data = make()
    tracemalloc.start()
    start = time.perf_counter()
    refused(data)
    took_s = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_HEADER_BYTES
    assert took_s < 10


def test_arrays_share_one_budget() -> None:
    half = struct.pack("<IIQ", 9, 0, MAX_ELEMENTS // 2) + b"\0" * (MAX_ELEMENTS // 2)
    assert len(read(build([("a", half), ("b", half)])).metadata) == 2
    assert "elements" in refused(build([("a", half), ("b", half), ("c", value([1]))]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_flipped_header_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(tiny_llama())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 1_300))] = data.draw(st.integers(0, 255))
    try:
        header = read(bytes(raw))
    except ModelFileError:
        return
    for tensor in header.tensors:
        assert 0 <= tensor.offset <= tensor.offset + tensor.num_bytes <= len(raw)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_after_the_magic(tail: bytes) -> None:
    with suppress(ModelFileError):
        read(b"GGUF" + struct.pack("<I", 3) + tail)


def write_parts(folder: Path, numbers: range, count: int) -> Path:
    for number in numbers:
        keys = {"split.no": number, "split.count": count, "split.tensors.count": count}
        keys |= {"general.architecture": "llama"} if number == 0 else {}
        tensor = RawTensor(f"t{number}".encode(), (4,), 0, 0)
        (folder / f"m-{number + 1:05}-of-{count:05}.gguf").write_bytes(build(keys, [tensor], b"\0" * 16))
    return folder / f"m-00002-of-{count:05}.gguf"


def test_parts_are_read_as_one(tmp_path: Path) -> None:
    header = read_gguf(write_parts(tmp_path, range(3), 3))
    assert [tensor.name for tensor in header.tensors] == ["t0", "t1", "t2"]
    assert header.metadata["general.architecture"] == "llama"
    assert [tensor.file for tensor in header.tensors] == list(header.paths)
    assert [path.name[:7] for path in header.paths] == ["m-00001", "m-00002", "m-00003"]


def test_missing_parts_are_named(tmp_path: Path) -> None:
    path = write_parts(tmp_path, range(1, 2), 3)
    with pytest.raises(ModelFileError, match=r"m-00001-of-00003.gguf, m-00003-of-00003.gguf"):
        read_gguf(path)


def test_parts_that_are_not_what_their_names_say(tmp_path: Path) -> None:
    path = write_parts(tmp_path, range(3), 3)
    path.write_bytes((tmp_path / "m-00001-of-00003.gguf").read_bytes())
    with pytest.raises(ModelFileError, match="not part 2 of 3"):
        read_gguf(path)
    (tmp_path / "alone.gguf").write_bytes((tmp_path / "m-00003-of-00003.gguf").read_bytes())
    with pytest.raises(ModelFileError, match="one of 3 parts"):
        read_gguf(tmp_path / "alone.gguf")


def test_parts_with_the_same_tensor(tmp_path: Path) -> None:
    path = write_parts(tmp_path, range(2), 2)
    keys = {"split.no": 1, "split.count": 2, "split.tensors.count": 2}
    path.write_bytes(build(keys, [RawTensor(b"t0", (4,), 0, 0)], b"\0" * 16))
    with pytest.raises(ModelFileError, match="twice"):
        read_gguf(path)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no file"):
        read_gguf(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="folder"):
        read_gguf(tmp_path)
