"""Vectors brought to a length."""

from __future__ import annotations

import math

import pytest

from publican.apis.vectors import normalised, shortened
from publican.core.errors import InvalidParameter


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (-1, [3.0, -4.0, 0.0]),
        (0, [24_570.0, -32_760.0, 0.0]),
        (1, [3 / 7, -4 / 7, 0.0]),
        (2, [0.6, -0.8, 0.0]),
        (3, [3 / 91 ** (1 / 3), -4 / 91 ** (1 / 3), 0.0]),
    ],
)
def test_the_norms_of_llama_cpp(norm: int, expected: list[float]) -> None:
    assert normalised([3.0, -4.0, 0.0], norm) == pytest.approx(expected)


@pytest.mark.parametrize("norm", [-1, 0, 1, 2, 1_000])
def test_nothing_and_much_have_norms_too(norm: int) -> None:
    assert normalised([0.0, 0.0], norm) == [0.0, 0.0]
    assert all(math.isfinite(number) for number in normalised([1e30, -1e30], norm))


def test_the_first_numbers_have_length_1_again() -> None:
    assert shortened([3.0, 4.0, 12.0], 2) == pytest.approx([0.6, 0.8])
    assert shortened([3.0, 4.0]) == pytest.approx([0.6, 0.8])
    with pytest.raises(InvalidParameter):
        shortened([3.0, 4.0], 3)
