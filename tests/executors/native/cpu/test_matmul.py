"""Linear and gated layers against NumPy, for every way that weights may be kept."""

from __future__ import annotations

from ctypes import pointer
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.executors.native.cpu import records
from publican.executors.native.cpu.library import Engine
from publican.executors.native.layout import DenseMatrix, Matrix
from tests.executors.native.cpu.harness import Harness, form_key, product, random_quantised, seen_by

SOME = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def numbers(rng: np.random.Generator, rows: int, width: int, size: float = 1.0) -> Any:
    return (rng.standard_normal((rows, width)) * size).astype(np.float32)


def check_linear(engine: Engine, matrix: Matrix, x: Any, int8: bool) -> None:
    rows, (n, k) = len(x), matrix.shape
    h = Harness(engine, {"x": k, "y": n}, rows)
    h.fill("x", x)
    packed = h.packer.pack(matrix)
    h.linear(h.part("x", "y", packed, int8))
    h.run()
    expected, error = product(seen_by(packed, x, int8), matrix)
    assert (np.abs(h.read("y") - expected) <= error).all()


@pytest.mark.parametrize("int8", [True, False], ids=["int8", "bf16"])
@pytest.mark.parametrize("group_len", [16, 32, 64, 128])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_every_width_and_group(engine: Engine, bits: int, group_len: int, int8: bool) -> None:
    rng = np.random.default_rng(bits * group_len)
    matrix = random_quantised(rng, 40, [(bits, group_len, 256)])
    check_linear(engine, matrix, numbers(rng, 14, 256), int8)


@given(data=st.data())
@SOME
def test_odd_shapes(engine: Engine, data: st.DataObject) -> None:
    """Any number of rows and outputs, inputs that end inside a group, groups of any length, segments, an order."""
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cut = st.tuples(
        st.sampled_from([2, 3, 4, 5, 6, 8]), st.sampled_from([5, 16, 24, 32, 48, 64, 128, 4096]), st.integers(1, 150)
    )
    cuts = draw(st.lists(cut, min_size=1, max_size=3))
    matrix = random_quantised(rng, draw(st.integers(1, 70)), cuts, ordered=draw(st.booleans()))
    x = numbers(rng, draw(st.integers(0, 30)), matrix.shape[1])
    check_linear(engine, matrix, x, draw(st.booleans()))


@given(data=st.data())
@SOME
def test_dense(engine: Engine, data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, n, k = draw(st.integers(0, 30)), draw(st.integers(1, 70)), draw(st.integers(1, 150))
    values = numbers(rng, n, k)
    kind = draw(st.sampled_from(["f32", "f16", "bf16"]))
    if kind == "bf16":
        weights: Any = (values.view(np.uint32) >> 16).astype(np.uint16)
    else:
        weights = values.astype(np.float16) if kind == "f16" else values
    check_linear(engine, DenseMatrix(weights), numbers(rng, rows, k), int8=True)


@pytest.mark.parametrize("size", [1e-38, 1e-42, 1e-20, 1e30, 0.0])
@pytest.mark.parametrize("int8", [True, False], ids=["int8", "bf16"])
def test_huge_and_tiny_activations(engine: Engine, size: float, int8: bool) -> None:
    rng = np.random.default_rng(3)
    matrix = random_quantised(rng, 20, [(4, 32, 64)])
    x = numbers(rng, 3, 64, size)
    h = Harness(engine, {"x": 64, "y": 20}, 3)
    h.fill("x", x)
    packed = h.packer.pack(matrix)
    h.linear(h.part("x", "y", packed, int8))
    h.run()
    expected, error = product(seen_by(packed, x, int8), matrix)
    assert np.isfinite(h.read("y")).all()
    # Below 1e-30 a group of 32 counts as zero, and bf16 has no denormals on some CPUs.
    assert (np.abs(h.read("y") - expected) <= error + 1e-27).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_scales_beyond_float16(engine: Engine, bits: int) -> None:
    """Denormal and huge ones are kept as float32."""
    rng = np.random.default_rng(5)
    matrix = random_quantised(rng, 20, [(bits, 32, 96)])
    segment = matrix.segments[0]  # type: ignore[union-attr]
    segment.scales[:, 0] *= 1e-7
    segment.offsets[:, 1] *= 1e7
    packed = Harness(engine, {}, 1).packer.pack(matrix)
    assert packed.record.segments[0].wide_scales
    check_linear(engine, matrix, numbers(rng, 5, 96), int8=True)


def test_the_largest_codes_do_not_overflow(engine: Engine) -> None:
    matrix = random_quantised(np.random.default_rng(0), 16, [(8, 32, 64), (4, 32, 64)])
    for segment in matrix.segments:  # type: ignore[union-attr]
        segment.codes[:] = 2**segment.bits - 1
    check_linear(engine, matrix, np.ones((2, 128), np.float32), int8=True)
    check_linear(engine, matrix, -np.ones((2, 128), np.float32), int8=True)


def test_bias_columns_and_residual(engine: Engine) -> None:
    """Two matrices into one buffer, side by side at an odd column, then a third added on top."""
    rng = np.random.default_rng(7)
    first, second = random_quantised(rng, 19, [(4, 32, 64)]), random_quantised(rng, 13, [(8, 16, 64)])
    third = random_quantised(rng, 32, [(4, 32, 64)])
    x, bias = numbers(rng, 9, 64), numbers(rng, 1, 19)[0]
    h = Harness(engine, {"x": 64, "y": 32}, 9)
    h.fill("x", x)
    a, b, c = (h.packer.pack(m) for m in (first, second, third))
    address = h.buffers.keep(np.concatenate([bias, np.zeros(13, np.float32)]))
    one, two = h.part("x", "y", a, True, bias=address), h.part("x", "y", b, True, column=19)
    h.linear(one, two)
    more = h.part("x", "y", c, True, add=1)
    more.scale = 0.5
    h.linear(more)
    h.run()
    seen = seen_by(a, x, True)
    pairs = [product(seen, m) for m in (first, second, third)]
    expected = np.concatenate([pairs[0][0] + bias, pairs[1][0]], 1) + 0.5 * pairs[2][0]
    error = np.concatenate([pairs[0][1], pairs[1][1]], 1) + pairs[2][1] + 1e-6
    assert (np.abs(h.read("y") - expected) <= error).all()


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
@pytest.mark.parametrize("n", [16, 24, 32, 40, 96])
@pytest.mark.parametrize("rows", [0, 1, 5, 13])
def test_gated(engine: Engine, activation: str, n: int, rows: int) -> None:
    rng = np.random.default_rng(n + rows)
    gate, up = random_quantised(rng, n, [(4, 32, 64)]), random_quantised(rng, n, [(5, 16, 64)])
    x = numbers(rng, rows, 64, 0.3)
    h = Harness(engine, {"x": 64, "y": n}, rows)
    h.fill("x", x)
    a, b = h.packer.pack(gate), h.packer.pack(up)
    x_form = h.convert("x", form_key(a, True))
    out_key = (records.INT8, -(-n // 32) * 32, None)
    op = records.PcpuGated(
        gate=pointer(a.record),
        up=pointer(b.record),
        gate_x=x_form,
        up_x=x_form,
        src=h.buffers["x"],
        dst=h.buffers["y"],
        form=h.form("y", out_key),
        activation=records.GATES[activation],
    )
    h.add(records.GATED, op)
    h.run()
    seen = seen_by(a, x, True)
    g, u = product(seen, gate)[0], product(seen, up)[0]
    inner = g if activation == "silu" else 2 * np.sqrt(2 / np.pi) * (g + 0.044715 * g**3)
    expected = g / (1 + np.exp(-inner)) * u
    got = h.read("y")
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
    codes, scales = h.codes("y", out_key)
    steps = np.repeat(scales, 32, axis=1)[:, :n]
    assert (np.abs(codes[:, :n] * steps - got) <= steps * 0.501).all()


@pytest.mark.parametrize("int8", [True, False], ids=["int8", "bf16"])
def test_rows_do_not_know_one_another(engine: Engine, int8: bool) -> None:
    """Bit for bit, however many rows share the tiles."""
    rng = np.random.default_rng(11)
    matrix = random_quantised(rng, 50, [(4, 32, 96), (8, 16, 32)])
    x = numbers(rng, 29, 128)

    def run(rows: Any) -> Any:
        h = Harness(engine, {"x": 128, "y": 50}, len(rows))
        h.fill("x", rows)
        h.linear(h.part("x", "y", h.packer.pack(matrix), int8))
        h.run()
        return h.read("y")

    together = run(x)
    for size in (1, 2, 3, 5, 12):
        apart = np.concatenate([run(x[i : i + size]) for i in range(0, len(x), size)])
        np.testing.assert_array_equal(apart, together)


@pytest.mark.parametrize("int8", [True, False], ids=["int8", "bf16"])
def test_nan_stays_visible(engine: Engine, int8: bool) -> None:
    """A row that went wrong gives NaN, and leaves the others alone."""
    rng = np.random.default_rng(13)
    matrix = random_quantised(rng, 20, [(4, 32, 64)])
    x = numbers(rng, 3, 64)
    x[1] = np.nan
    h = Harness(engine, {"x": 64, "y": 20}, 3)
    h.fill("x", x)
    h.linear(h.part("x", "y", h.packer.pack(matrix), int8))
    h.run()
    got = h.read("y")
    assert np.isnan(got[1]).all()
    assert np.isfinite(got[[0, 2]]).all()
