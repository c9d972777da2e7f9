"""EXL3: random trellises, decoded a second time one symbol at a time with Python integers."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from publican.core.errors import ModelFileError
from publican.executors.native.formats.exl3 import EXL3
from publican.executors.native.layout import DenseMatrix, dequantise
from tests.executors.native.stored import stored


def half_of(bits: int) -> float:
    return float(struct.unpack("<e", struct.pack("<H", bits))[0])


def symbol(state: int, codebook: str) -> float:
    if codebook == "mul1":
        total = sum((state * 0x83DCD12D & 0xFFFFFFFF).to_bytes(4, "little"))
        return float(np.float16(half_of(total + 0x6400) * half_of(0x1EEE) + half_of(0xC931)))
    x = state * 0xCBAC1FED if codebook == "mcg" else state * 89_226_354 + 64_248_484
    x = x & 0x8FFF8FFF ^ 0x3B603B60
    return float(np.float16(half_of(x & 0xFFFF) + half_of(x >> 16)))


def tile(words: np.ndarray, codebook: str) -> np.ndarray:
    """One 16 × 16 tile out of its 16-bit words: pairs of them are 32-bit words, read from the top as a ring."""
    pairs = words.view(np.uint16).reshape(-1, 2)
    ring = "".join(f"{int(high) << 16 | int(low):032b}" for low, high in pairs)
    bits = len(ring) // 256
    values = np.zeros((16, 16), np.float32)
    for t in range(256):
        end = (t + 1) * bits
        state = int((ring + ring)[len(ring) + end - 16 : len(ring) + end], 2)
        i, j = divmod(t, 8)
        row = 2 * (i % 4) + (0, 1, 8, 9)[j % 4]
        values[row, i // 4 + 8 * (j // 4)] = symbol(state, codebook)
    return values


def hadamard(n: int) -> np.ndarray:
    signs = [[(-1) ** bin(i & j).count("1") for j in range(n)] for i in range(n)]
    return np.array(signs) / np.sqrt(n)


@pytest.mark.parametrize("codebook", ["3inst", "mcg", "mul1"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_reconstructs_what_the_transforms_would_compute(bits: int, codebook: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(bits)
    trellis = rng.integers(-(1 << 15), 1 << 15, (8, 16, 16 * bits)).astype(np.int16)
    suh, svh = rng.normal(size=128).astype(np.float16), rng.normal(size=256).astype(np.float16)
    arrays = {"w.trellis": trellis, "w.suh": suh, "w.svh": svh}
    if codebook != "3inst":
        arrays[f"w.{codebook}"] = np.zeros(1, np.int32)
    inner = np.block([[tile(trellis[r, c], codebook) for c in range(16)] for r in range(8)])
    x = rng.normal(size=(5, 128))
    h = hadamard(128)
    transformed = ((x * suh) @ h) @ inner
    expected = (transformed.reshape(5, 2, 128) @ h).reshape(5, 256) * svh
    tensors = stored(tmp_path, arrays)
    assert EXL3.owns(tensors, "w")
    matrix = EXL3.read(tensors, "w", {}, (256, 128))
    assert isinstance(matrix, DenseMatrix)
    got = x @ dequantise(matrix).T
    assert np.abs(got - expected).max() < 3e-3 * np.abs(expected).max()


def test_the_first_files_have_bare_signs(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    trellis = rng.integers(-(1 << 15), 1 << 15, (8, 8, 32)).astype(np.int16)
    su, sv = rng.integers(0, 2, 128), rng.integers(0, 2, 128)
    packed = {
        "w.su": np.packbits(su.astype(np.uint8), bitorder="little").view(np.int16),
        "w.sv": np.packbits(sv.astype(np.uint8), bitorder="little").view(np.int16),
    }
    spelled = {"w.suh": (1 - 2 * su).astype(np.float16), "w.svh": (1 - 2 * sv).astype(np.float16)}
    (tmp_path / "a").mkdir()
    first = EXL3.read(stored(tmp_path, {"w.trellis": trellis} | packed), "w", {}, (128, 128))
    second = EXL3.read(stored(tmp_path / "a", {"w.trellis": trellis} | spelled), "w", {}, (128, 128))
    np.testing.assert_array_equal(dequantise(first), dequantise(second))


def test_padded_outputs_are_cut(tmp_path: Path) -> None:
    arrays = {"w.trellis": np.ones((8, 8, 16), np.int16), "w.suh": np.ones(128, np.float16), "w.svh": np.ones(128, np.float16)}
    assert EXL3.read(stored(tmp_path, arrays), "w", {}, (100, 128)).shape == (100, 128)


def test_damage_is_a_model_file_error(tmp_path: Path) -> None:
    arrays = {"w.trellis": np.ones((8, 8, 16), np.int16), "w.suh": np.ones(128, np.float16), "w.svh": np.ones(128, np.float16)}
    for damage in (
        {"w.trellis": np.ones((8, 8, 17), np.int16)},
        {"w.trellis": np.ones((8, 8, 16 * 9), np.int16)},
        {"w.trellis": np.ones((4, 8, 16), np.int16), "w.suh": np.ones(64, np.float16)},
        {"w.suh": np.ones(64, np.float16)},
    ):
        with pytest.raises(ModelFileError):
            EXL3.read(stored(tmp_path, arrays | damage), "w", {}, (128, 128))
