"""GGUF's types: against a slow writer, against the gguf package, and against libggml itself."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import gguf
import numpy as np
import pytest

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.core.model import TensorInfo
from publican.executors.native.formats.gguf import GGUF
from publican.executors.native.layout import QuantizedMatrix, dequantise
from publican.executors.native.tensors import MappedTensors
from tests.executors.native.gguf_blocks import PACKERS, random_matrix
from tests.executors.native.stored import BLOCK_BYTES, BLOCK_LEN, infos, stored

KINDS = sorted(PACKERS)


def read(tensors: MappedTensors, shape: tuple[int, int]) -> QuantizedMatrix:
    matrix = GGUF.read(tensors, "w", {}, shape)
    assert isinstance(matrix, QuantizedMatrix)
    return matrix


@pytest.mark.parametrize("kind", KINDS)
def test_reads_what_a_writer_wrote_exactly(kind: str, tmp_path: Path) -> None:
    raw, expected = random_matrix(kind, 5, 3, seed=1)
    matrix = read(stored(tmp_path, {"w.weight": raw}, {"w.weight": kind}), expected.shape)
    np.testing.assert_array_equal(dequantise(matrix), expected)
    (segment,) = matrix.segments
    assert matrix.shape == expected.shape
    assert int(segment.codes.max()) < 1 << segment.bits
    assert segment.scales.shape == segment.offsets.shape == (5, expected.shape[1] // segment.group_len)


def random_bytes(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Blocks of any bytes, but with scales that are numbers."""
    raw = rng.integers(0, 256, (7, 4 * BLOCK_BYTES[kind]), dtype=np.uint8)
    places = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "Q4_0": (0,), "Q5_0": (0,), "Q8_0": (0,)}.get(kind, (0, 2))
    blocks = raw.reshape(7, 4, -1)
    for place in places:
        blocks[..., place : place + 2] = rng.normal(size=(7, 4, 1)).astype(np.float16).view(np.uint8)
    return raw


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_gguf_package(kind: str, tmp_path: Path) -> None:
    raw = random_bytes(kind, np.random.default_rng(2))
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[kind])
    matrix = read(stored(tmp_path, {"w.weight": raw}, {"w.weight": kind}), expected.shape)
    np.testing.assert_array_equal(dequantise(matrix), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_libggml(kind: str, tmp_path: Path) -> None:
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        pytest.skip("llama-cpp-python is not installed")
    library = ctypes.CDLL(str(next((Path(found.origin).parent / "lib").glob("libggml-base.*"))))
    unpack = getattr(library, f"dequantize_row_{kind.lower().replace('_k', '_K')}")
    unpack.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    raw = random_bytes(kind, np.random.default_rng(3))
    expected = np.empty((raw.shape[0], raw.shape[1] // BLOCK_BYTES[kind] * BLOCK_LEN[kind]), np.float32)
    unpack(raw.ctypes.data, expected.ctypes.data, expected.size)
    matrix = read(stored(tmp_path, {"w.weight": raw}, {"w.weight": kind}), expected.shape)
    np.testing.assert_array_equal(dequantise(matrix), expected)


@pytest.mark.parametrize("kind", ["IQ4_XS", "IQ2_XXS", "TQ1_0", "MXFP4", "Q8_K"])
def test_names_the_type_it_does_not_read(kind: str, tmp_path: Path) -> None:
    info = TensorInfo("w.weight", kind, (256, 256), tmp_path / "none", 0, 0)
    with pytest.raises(UnsupportedModel, match=rf"type {kind}.*Q4_K_M"):
        GGUF.read(MappedTensors({"w.weight": info}), "w", {}, (256, 256))


def test_refuses_a_size_that_does_not_fit(tmp_path: Path) -> None:
    raw, expected = random_matrix("Q4_0", 2, 2, seed=4)
    found = infos(tmp_path, {"w.weight": raw}, {"w.weight": "Q4_0"})
    info = found["w.weight"]
    for wrong in (
        TensorInfo("w.weight", "Q4_0", (3, 64), info.file, info.offset, info.num_bytes),
        TensorInfo("w.weight", "Q4_0", (2, 63), info.file, info.offset, info.num_bytes),
        TensorInfo("w.weight", "Q4_0", (128,), info.file, info.offset, info.num_bytes),
        TensorInfo("w.weight", "Q4_0", (2, 64), info.file, info.offset + 1, info.num_bytes),
        TensorInfo("w.weight", "Q4_0", (2, 64), info.file, -1, info.num_bytes),
        TensorInfo("w.weight", "Q4_0", (2, 64), tmp_path / "absent", info.offset, info.num_bytes),
    ):
        with pytest.raises(ModelFileError):
            GGUF.read(MappedTensors({"w.weight": wrong}), "w", {}, expected.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint16])
def test_reads_plain_numbers(dtype: type, tmp_path: Path) -> None:
    values = np.random.default_rng(5).normal(size=(3, 8)).astype(np.float32)
    written = (values.view(np.uint32) >> 16).astype(np.uint16) if dtype is np.uint16 else values.astype(dtype)
    matrix = GGUF.read(stored(tmp_path, {"w.weight": written}), "w", {}, (3, 8))
    expected = (written.astype(np.uint32) << 16).view(np.float32) if dtype is np.uint16 else written.astype(np.float32)
    np.testing.assert_array_equal(dequantise(matrix), expected)
