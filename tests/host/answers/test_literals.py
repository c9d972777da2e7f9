"""Values that are not quite JSON."""

from __future__ import annotations

import time

import pytest

from publican.host.answers.literals import parse_literal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("+1_000", 1_000),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1_000.0),
        ("-1_0.25E-2", -0.1025),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert parse_literal(text) == value


@pytest.mark.parametrize("text", ["1_", "1.5.", "1.2.3", "1a", "1e", "_1", ".", "1..", "0x1F", "--1"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError):
        parse_literal(text)


@pytest.mark.parametrize("end", ["x", "_", ".1.1", "e", "e1x"])
def test_a_long_row_of_digits_that_is_no_number_is_told_at_once(end: str) -> None:
    began_s = time.process_time()
    with pytest.raises(ValueError):
        parse_literal("1" * 30_000 + end)
    assert time.process_time() - began_s < 2
