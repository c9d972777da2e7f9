"""Embedding, norm, conversion and addition against NumPy."""

from __future__ import annotations

from ctypes import pointer
from typing import Any

import numpy as np
import pytest

from publican.executors.native.cpu import records
from publican.executors.native.cpu.buffers import padded
from publican.executors.native.cpu.library import Engine
from publican.executors.native.layout import DenseMatrix, dequantise
from tests.executors.native.cpu.harness import Harness, random_quantised, to_bf16, to_int8


@pytest.mark.parametrize("width", [1, 15, 16, 31, 33, 96, 100])
@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_norm(engine: Engine, width: int, rows: int) -> None:
    rng = np.random.default_rng(width + rows)
    x = rng.standard_normal((rows, width)).astype(np.float32) * 3
    weight = rng.standard_normal(width).astype(np.float32)
    h = Harness(engine, {"x": width, "y": width}, rows)
    h.fill("x", x)
    width_up = h.buffers["x"].stride
    key = (records.INT8, width_up, None)
    forms = h.buffers.form_list([h.form("y", key)])
    address = h.buffers.keep(padded(weight, width_up))
    h.add(records.NORM, records.PcpuNorm(h.buffers["x"], h.buffers["y"], address, 1e-5, 1, forms))
    h.run()
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(h.read("y"), expected, rtol=3e-6, atol=1e-6)
    codes, scales = h.codes("y", key)
    np.testing.assert_allclose((codes * np.repeat(scales, 32, 1))[:, :width], to_int8(h.read("y")), rtol=1e-6)
    assert not codes[:, width:].any()


@pytest.mark.parametrize("values", [0.0, 1e-42, 1e-25, 1e18])
def test_norm_of_extremes(engine: Engine, values: float) -> None:
    h = Harness(engine, {"x": 32}, 1)
    h.fill("x", np.full((1, 32), values, np.float32))
    address = h.buffers.keep(np.ones(32, np.float32))
    h.add(records.NORM, records.PcpuNorm(h.buffers["x"], h.buffers["x"], address, 1e-6, 0, None))
    h.run()
    np.testing.assert_allclose(h.read("x"), values / np.sqrt(values**2 + 1e-6), rtol=1e-5, atol=1e-38)


def test_norm_in_place_and_add(engine: Engine) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((5, 50)).astype(np.float32) for _ in range(2))
    h = Harness(engine, {"a": 50, "b": 50}, 5)
    h.fill("a", a)
    h.fill("b", b)
    address = h.buffers.keep(padded(np.ones(50, np.float32), 64))
    h.add(records.NORM, records.PcpuNorm(h.buffers["a"], h.buffers["a"], address, 0.0, 0, None))
    h.add(records.ADD, records.PcpuAdd(h.buffers["a"], h.buffers["b"], 0.25))
    h.run()
    normed = a / np.sqrt((a.astype(np.float64) ** 2).mean(-1, keepdims=True))
    np.testing.assert_allclose(h.read("b"), b + 0.25 * normed, rtol=1e-5, atol=1e-6)


def test_conversion_gathers_and_pads(engine: Engine) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 20)).astype(np.float32)
    gather = np.full(64, -1, np.int32)
    gather[8:28] = rng.permutation(20)
    h = Harness(engine, {"x": 20}, 4)
    h.fill("x", x)
    key = (records.INT8, 64, gather.tobytes())
    h.convert("x", key)
    h.run()
    picked = np.zeros((4, 64), np.float32)
    picked[:, 8:28] = x[:, gather[8:28]]
    codes, scales = h.codes("x", key)
    np.testing.assert_allclose(codes * np.repeat(scales, 32, 1), to_int8(picked), rtol=1e-6)


def embed(engine: Engine, matrix: Any, tokens: list[int], raw: bool) -> Any:
    n, k = matrix.shape
    h = Harness(engine, {"x": k}, len(tokens))
    record = records.PcpuEmbed(dst=h.buffers["x"], num_tokens=n, scale=2.0)
    if raw:
        kinds = {"float32": records.F32, "float16": records.F16, "uint16": records.BF16}
        record.rows, record.rows_storage = h.buffers.keep(matrix.values), kinds[matrix.values.dtype.name]
    else:
        packed = h.packer.pack(matrix)
        record.table = pointer(packed.record)
        if packed.gather is not None:
            record.gather = packed.gather.ctypes.data
    h.add(records.EMBED, record)
    h.run(tokens=tokens)
    return h.read("x")


@pytest.mark.parametrize("cuts", [[(4, 32, 64)], [(8, 16, 48)], [(6, 24, 50), (3, 32, 40)]])
@pytest.mark.parametrize("ordered", [False, True])
def test_embedding_out_of_a_packed_matrix(engine: Engine, cuts: Any, ordered: bool) -> None:
    matrix = random_quantised(np.random.default_rng(4), 37, cuts, ordered)
    tokens = [0, 36, 17, 17, 16, 15]
    np.testing.assert_allclose(embed(engine, matrix, tokens, False), 2 * dequantise(matrix)[tokens], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
def test_embedding_out_of_a_dense_matrix(engine: Engine, kind: str, raw: bool) -> None:
    values = np.random.default_rng(5).standard_normal((37, 45)).astype(np.float32)
    stored: Any = {
        "f32": values,
        "f16": values.astype(np.float16),
        "bf16": (to_bf16(values).view(np.uint32) >> 16).astype(np.uint16),
    }
    matrix = DenseMatrix(stored[kind])
    tokens = [36, 0, 20]
    np.testing.assert_array_equal(embed(engine, matrix, tokens, raw), 2 * dequantise(matrix)[tokens])


def test_half_floats_of_every_kind(engine: Engine) -> None:
    """All 65,536 of float16, as an embedding table."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(512, 128)
    sound = np.nan_to_num(halves, nan=1.0)
    got = embed(engine, DenseMatrix(sound), list(range(512)), True)
    np.testing.assert_array_equal(got, 2 * sound.astype(np.float32))
