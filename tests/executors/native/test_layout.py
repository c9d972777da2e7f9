"""The one layout: what it stands for, taking outputs, stacking."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from publican.executors.native.layout import DenseMatrix, QuantizedMatrix, Segment, dequantise, stack, take_outputs


def random_quantised(
    seed: int, cuts: list[tuple[int, int, int]], num_outputs: int = 6, ordered: bool = False
) -> QuantizedMatrix:
    """`cuts`: (bits, group length, inputs) of each segment."""
    rng = np.random.default_rng(seed)
    segments = []
    for bits, group_len, num_inputs in cuts:
        codes = rng.integers(0, 1 << bits, (num_outputs, num_inputs), dtype=np.uint8)
        scales, offsets = rng.normal(size=(2, num_outputs, -(-num_inputs // group_len))).astype(np.float32)
        segments.append(Segment(bits, group_len, codes, scales, offsets))
    order = np.random.default_rng(7).permutation(sum(c[2] for c in cuts)).astype(np.int32) if ordered else None
    return QuantizedMatrix(tuple(segments), order)


def one_by_one(matrix: QuantizedMatrix) -> np.ndarray:
    """The definition, as the module's docstring has it."""
    out = np.zeros(matrix.shape, np.float32)
    k = 0
    for segment in matrix.segments:
        for i in range(segment.num_inputs):
            group = i // segment.group_len
            place = k if matrix.order is None else matrix.order[k]
            out[:, place] = segment.scales[:, group] * segment.codes[:, i] + segment.offsets[:, group]
            k += 1
    return out


CUTS = st.lists(
    st.tuples(st.sampled_from([2, 3, 4, 5, 6, 8]), st.sampled_from([8, 16, 32]), st.integers(1, 70)), min_size=1, max_size=3
)


@given(CUTS, st.booleans(), st.integers(0, 999))
def test_dequantise_is_the_definition(cuts: list[tuple[int, int, int]], ordered: bool, seed: int) -> None:
    matrix = random_quantised(seed, cuts, ordered=ordered)
    np.testing.assert_array_equal(dequantise(matrix), one_by_one(matrix))


@given(CUTS, st.booleans(), st.permutations(range(6)))
def test_outputs_can_be_taken_in_any_order(cuts: list[tuple[int, int, int]], ordered: bool, outputs: list[int]) -> None:
    matrix = random_quantised(1, cuts, ordered=ordered)
    taken = np.array(outputs[:4])
    np.testing.assert_array_equal(dequantise(take_outputs(matrix, taken)), dequantise(matrix)[taken])
    np.testing.assert_array_equal(dequantise(take_outputs(matrix, slice(1, 3))), dequantise(matrix)[1:3])


@given(CUTS, st.booleans())
def test_what_is_cut_alike_can_be_stacked(cuts: list[tuple[int, int, int]], ordered: bool) -> None:
    parts = [random_quantised(seed, cuts, num_outputs=seed + 2, ordered=ordered) for seed in range(3)]
    stacked = stack(parts)
    assert stacked is not None
    np.testing.assert_array_equal(dequantise(stacked), np.concatenate([dequantise(part) for part in parts]))


def test_what_is_cut_differently_cannot() -> None:
    plain = random_quantised(1, [(4, 32, 64)])
    dense = DenseMatrix(np.zeros((2, 64), np.float32))
    for other in (
        random_quantised(1, [(8, 32, 64)]),
        random_quantised(1, [(4, 16, 64)]),
        random_quantised(1, [(4, 32, 32), (4, 32, 32)]),
        random_quantised(1, [(4, 32, 64)], ordered=True),
        dense,
    ):
        assert stack([plain, other]) is None
        assert stack([other, plain]) is None
    assert stack([dense, DenseMatrix(np.zeros((2, 64), np.float16))]) is None


def test_dense_of_every_type() -> None:
    values = np.array([[1.5, -2.0], [0.25, 3.0]], np.float32)  # all exact in bfloat16
    for stored in (values, values.astype(np.float16), (values.view(np.uint32) >> 16).astype(np.uint16)):
        both = stack([DenseMatrix(stored), DenseMatrix(stored)])
        assert both is not None
        np.testing.assert_array_equal(dequantise(both), np.concatenate([values, values]))
