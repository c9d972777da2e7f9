"""Packed words against the codes they came from, in every width and with every kind of group."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.errors import UnsupportedModel
from publican.executors.native import layout
from publican.executors.native.cuda.packing import DenseWeight, PackedMatrix, Packer, dequantise, pack_codes
from publican.executors.native.layout import DenseMatrix, QuantizedMatrix, Segment
from tests.executors.native.cuda.random_weights import random_quantised

CPU = torch.device("cpu")
EXACT = Packer(CPU, torch.float32, True)


def packed(matrix: QuantizedMatrix, packer: Packer = EXACT) -> PackedMatrix:
    weight = packer.pack(matrix)
    assert isinstance(weight, PackedMatrix)
    return weight


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_packing_loses_nothing(bits: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    group_len = data.draw(st.sampled_from([16, 32, 48, 64, 128, 7, 30, 1000]))
    num_inputs = data.draw(st.integers(1, 300))
    matrix = random_quantised(rng, data.draw(st.integers(1, 5)), [(bits, group_len, num_inputs)], data.draw(st.booleans()))
    np.testing.assert_allclose(dequantise(packed(matrix)).numpy(), layout.dequantise(matrix), rtol=1e-6, atol=1e-7)


def test_a_word_is_drawn_as_it_is() -> None:
    codes = torch.arange(128, dtype=torch.uint8)[None] % 16
    low, _ = pack_codes(codes, 4, 0)
    word = int(low[0, 3]) & 0xFFFFFFFF
    assert [word >> 4 * s & 15 for s in range(8)] == [int(codes[0, 16 * s + 3]) for s in range(8)]


def test_the_top_bit_is_kept() -> None:
    low, _ = pack_codes(torch.full((1, 128), 15, dtype=torch.uint8), 4, 0)
    assert (low == -1).all()


def test_segments_of_several_widths_in_an_order_of_their_own() -> None:
    rng = np.random.default_rng(0)
    matrix = random_quantised(rng, 9, [(8, 32, 64), (5, 64, 130), (3, 32, 70), (2, 20, 50)], ordered=True)
    weight = packed(matrix)
    assert [segment.bits for segment in weight.segments] == [8, 5, 3, 2]
    np.testing.assert_allclose(dequantise(weight).numpy(), layout.dequantise(matrix), rtol=1e-6, atol=1e-7)
    rows = torch.tensor([4, 0, 4])
    np.testing.assert_array_equal(dequantise(weight, rows), dequantise(weight)[rows])


def test_scales_are_halved_where_float16_has_room_for_them() -> None:
    rng = np.random.default_rng(0)
    matrix = random_quantised(rng, 4, [(4, 32, 64)])
    half = packed(matrix, Packer(CPU, torch.bfloat16, False)).segments[0]
    assert half.scales.dtype == torch.float16
    for factor in (1e-6, 1e8):
        (s,) = matrix.segments
        odd = QuantizedMatrix((Segment(s.bits, s.group_len, s.codes, s.scales * np.float32(factor), s.offsets),))
        assert packed(odd, Packer(CPU, torch.bfloat16, False)).segments[0].scales.dtype == torch.float32


def test_dense_weights_take_the_type_of_activations() -> None:
    bf16 = np.array([[0x3F80, 0xC000]], np.uint16)
    for values in (bf16, np.array([[1, -2]], np.float16), np.array([[1, -2]], np.float32)):
        weight = EXACT.pack(DenseMatrix(values))
        assert isinstance(weight, DenseWeight)
        assert weight.values.tolist() == [[1.0, -2.0]]


def test_an_unknown_width_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="7 bits"):
        packed(random_quantised(np.random.default_rng(0), 2, [(7, 32, 64)]))


def test_bytes_are_counted() -> None:
    matrix = random_quantised(np.random.default_rng(0), 8, [(3, 128, 512)])
    packer = Packer(CPU, torch.bfloat16, False)
    weight = packer.pack(matrix)
    assert packer.num_bytes == weight.num_bytes == 8 * 512 * 3 // 8 + 8 * 4 * 2 * 2
