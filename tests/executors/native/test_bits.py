"""Golden words, and what any packer packs comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.executors.native.formats.bits import unpack_stream, words_per_unit
from tests.executors.native.words import down, stream

GOLDEN = {
    (4, tuple(range(8))): "76543210",
    (3, tuple(j % 8 for j in range(32))): "88fac688 c688fac6 fac688fa",
    (5, tuple(range(32))): "8a418820 c5a92839 ca307b9a 38bdab49 ffbbcdeb",
    (6, tuple(range(16))): "440c2040 a2481c61 3ce34c2c",
}


@pytest.mark.parametrize(("packed", "words"), GOLDEN.items())
def test_golden_words(packed: tuple[int, tuple[int, ...]], words: str) -> None:
    bits, values = packed
    column = np.array([[int(word, 16)] for word in words.split()], np.uint32)
    assert stream(values, bits) == column[:, 0].tolist()
    np.testing.assert_array_equal(unpack_stream(column.view(np.int32), bits)[:, 0], values)


@given(st.sampled_from([2, 3, 4, 5, 6, 8]), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_unpacks_what_was_packed(bits: int, num_units: int, num_columns: int, seed: int) -> None:
    num_values = num_units * words_per_unit(bits) * 32 // bits
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (num_values, num_columns), dtype=np.uint8)
    np.testing.assert_array_equal(unpack_stream(down(codes, bits), bits), codes)
