"""The best few of a row, equal to NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.errors import EngineError
from publican.executors.native.cpu.library import Engine


def twin(logits: Any, count: int) -> tuple[Any, Any]:
    order = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(logits, order, 1)


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(0, 5),
    size=st.integers(1, 300),
    count=st.integers(1, 40),
    ties=st.booleans(),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equal_to_numpy(engine: Engine, seed: int, rows: int, size: int, count: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    logits: Any = rng.standard_normal((rows, size)).astype(np.float32)
    if ties:
        logits = np.round(logits)
    count = min(count, size)
    indices, values = engine.top(logits, count)
    expected_indices, expected_values = twin(logits, count)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(values, expected_values)


@pytest.mark.parametrize("count", [1, 50, 1000, 4096])
def test_a_vocabulary(engine: Engine, count: int) -> None:
    logits = np.random.default_rng(0).standard_normal((3, 49_152)).astype(np.float32)
    indices, _ = engine.top(logits, count)
    np.testing.assert_array_equal(indices, twin(logits, count)[0])
    np.testing.assert_array_equal(indices[:, 0], logits.argmax(1))


@pytest.mark.parametrize("size", [20_480, 49_152, 50_001])
@pytest.mark.parametrize("flaw", ["ties", "nan", "out", "mostly out", "all nan"])
def test_a_flawed_vocabulary(engine: Engine, size: int, flaw: str) -> None:
    """Blocks are passed over by their highest number, and that may be anything."""
    rng = np.random.default_rng(size)
    logits = (rng.standard_normal((3, size)) * 3).astype(np.float32)
    if flaw == "ties":
        logits = np.round(logits)
    else:
        share = {"nan": 0.3, "out": 0.5, "mostly out": 0.9995, "all nan": 1.0}[flaw]
        logits[rng.random(logits.shape) < share] = np.nan if "nan" in flaw else -np.inf
    for count in (1, 37, 40):
        indices, values = engine.top(logits, count)
        for row in range(3):
            numbers = np.flatnonzero(~np.isnan(logits[row]))
            order = numbers[np.argsort(-logits[row][numbers], kind="stable")][:count]
            assert indices[row].tolist() == [*order.tolist(), *[-1] * (count - len(order))]
            np.testing.assert_array_equal(values[row, : len(order)], logits[row, order])


def test_infinities_and_nan(engine: Engine) -> None:
    row = np.array([[np.nan, -np.inf, 3.0, np.inf, np.nan, 3.0]], np.float32)
    indices, values = engine.top(row, 6)
    assert indices[0].tolist() == [3, 2, 5, 1, -1, -1]
    assert values[0, :4].tolist() == [np.inf, 3.0, 3.0, -np.inf]


def test_nothing_stays_of_the_rows_before(engine: Engine) -> None:
    engine.top(np.ones((2, 6), np.float32), 6)
    rows = np.full((2, 6), np.nan, np.float32)
    rows[1, 4] = 2.0
    indices, values = engine.top(rows, 6)
    assert indices.tolist() == [[-1] * 6, [4, *[-1] * 5]]
    assert values.tolist() == [[-np.inf] * 6, [2.0, *[-np.inf] * 5]]


def test_rows_of_a_wider_array(engine: Engine) -> None:
    whole = np.random.default_rng(2).standard_normal((4, 100)).astype(np.float32)
    np.testing.assert_array_equal(engine.top(whole[:, :70], 9)[0], twin(whole[:, :70], 9)[0])


def test_refusals(engine: Engine) -> None:
    logits = np.zeros((1, 8), np.float32)
    for count in (0, -1, 4097):
        with pytest.raises(EngineError):
            engine.top(logits, count)
    with pytest.raises(EngineError):
        engine.top(logits.astype(np.float64), 1)
