"""Rounding keys and values to 8 and 4 bits: how far a number may stray, and that mixing changes no score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from publican.executors.native.kv_codes import GROUP_LEN, CodeType, decode, encode, hadamard, mix, to_bf16
from publican.executors.native.plain.cache import KVCache

DIMS = st.sampled_from([2, 6, 18, 32, 40, 64, 80, 128])
SIZES = st.sampled_from([1e-20, 1e-3, 1.0, 1e4])


def random(dim: int, size: float, seed: int) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_t(3, (5, 2, dim)) * size).astype(np.float32)


@settings(deadline=None)
@given(dim=DIMS, size=SIZES, seed=st.integers(0, 9))
def test_eight_bits_are_off_by_half_a_step(dim: int, size: float, seed: int) -> None:
    x = random(dim, size, seed)
    largest = np.abs(x).max(-1, keepdims=True)
    assert (np.abs(decode(encode(x, "q8"), dim) - x) <= 0.501 * largest / 127).all()


@settings(deadline=None)
@given(dim=DIMS, size=SIZES, seed=st.integers(0, 9))
def test_four_bits_are_off_by_half_a_step_or_where_the_codes_end_by_one(dim: int, size: float, seed: int) -> None:
    x = random(dim, size, seed)
    error = np.abs(decode(encode(x, "q4"), dim) - x)
    for first in range(0, dim, GROUP_LEN):
        part, off = x[..., first : first + GROUP_LEN], error[..., first : first + GROUP_LEN]
        step = np.abs(part).max(-1, keepdims=True) / 8 * 1.005  # bfloat16's rounding
        assert (off <= 1.04 * step).all()
        assert (off <= 0.51 * step)[np.abs(part) < 7 * step / 1.01].all()


@pytest.mark.parametrize("kind", ["q8", "q4"])
def test_zeros_and_the_largest_number_are_kept(kind: CodeType) -> None:
    x = np.zeros((1, 1, 64), np.float32)
    np.testing.assert_array_equal(decode(encode(x, kind), 64), x)
    x[..., 3] = -8.0
    x[..., 40] = 24.0
    np.testing.assert_allclose(decode(encode(x, kind), 64)[..., 3 if kind == "q4" else 40], x[..., 3 if kind == "q4" else 40])


@settings(deadline=None)
@given(dim=DIMS, seed=st.integers(0, 9))
def test_mixing_changes_no_score_and_undoes_itself(dim: int, seed: int) -> None:
    q, k = random(dim, 1.0, seed), random(dim, 1.0, seed + 10)
    scores = (q.astype(np.float64) * k).sum(-1)
    mixed_q, mixed_k = q.copy(), k.copy()
    mix(mixed_q)
    mix(mixed_k)
    np.testing.assert_allclose((mixed_q.astype(np.float64) * mixed_k).sum(-1), scores, rtol=1e-4, atol=1e-4)
    assert dim % 2 or not np.allclose(mixed_k, k)
    mix(mixed_k)
    np.testing.assert_allclose(mixed_k, k, rtol=1e-4, atol=1e-5)


def test_an_outlier_costs_its_neighbours_less_when_mixed() -> None:
    x = np.random.default_rng(0).normal(size=(200, 32)).astype(np.float32)
    x[:, 5] *= 20.0
    plain = np.delete(decode(encode(x, "q4"), 32) - x, 5, 1).std()
    mixed = x.copy()
    mix(mixed)
    back = decode(encode(mixed, "q4"), 32)
    mix(back)
    assert np.delete(back - x, 5, 1).std() < 0.75 * plain


@pytest.mark.parametrize("size", [1, 2, 16, 32])
def test_hadamard(size: int) -> None:
    matrix = hadamard(size)
    np.testing.assert_allclose(matrix @ matrix, np.eye(size), atol=1e-6)
    np.testing.assert_allclose(np.abs(matrix), size**-0.5)


def test_bf16() -> None:
    x = np.array([1.0, 1.00390625, 1.01171875, -3.14159], np.float32)  # two ties, to even
    np.testing.assert_array_equal(to_bf16(x), np.array([1.0, 1.0, 1.015625, -3.140625], np.float32))


@pytest.mark.parametrize(("kind", "bytes_each"), [("f32", 2 * 64 * 4), ("q8", 2 * (64 + 4)), ("q4", 2 * (32 + 2 * 4))])
def test_what_a_token_takes_and_that_pages_are_copied_whole(kind: CodeType, bytes_each: int) -> None:
    cache = KVCache(1, 3, 4, 1, 64, kind)
    assert cache.num_bytes == 3 * 4 * bytes_each
    keys, values = random(64, 1.0, 1)[:4, :1], random(64, 1.0, 2)[:4, :1]
    table = np.zeros((4, 1), np.int32)
    cache.write(0, table, np.arange(4), keys, values)
    cache.copy_page(0, 2)
    for got, copied in zip(cache.read(0, table[0], 4), cache.read(0, table[0] + 2, 4), strict=True):
        np.testing.assert_array_equal(got, copied)
