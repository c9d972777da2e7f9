"""What is left out beforehand changes nothing: the survivors are those of a full stable sort, bit for bit, in float32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.engine.sampling.arrays import Space
from publican.engine.sampling.draw import draw, likeliest
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.rows import Rows
from tests.engine.sampling.running import LIBRARIES, to_host


@st.composite
def logits(draw_: st.DrawFn) -> np.ndarray:
    """Shapes on both sides of every border inside, with equals, with tokens that are out, sharp and flat."""
    size = draw_(st.sampled_from([1, 2, 63, 64, 65, 255, 256, 257, 1000, 4096, 20_000]))
    num_rows = draw_(st.integers(1, 4))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32)))
    scale = draw_(st.sampled_from([0.01, 1.0, 3.0, 20.0]))
    values = (rng.standard_normal((num_rows, size)) * scale).astype(np.float32)
    if draw_(st.booleans()):
        values = np.round(values * 2) / 2
    if draw_(st.booleans()) and size > 2:
        values[rng.random(values.shape) < 0.5] = -np.inf
        values[:, size // 2] = 0.5
    return values


def full_order(row: np.ndarray) -> np.ndarray:
    return np.argsort(-row, kind="stable")


def survivors(rows: Rows) -> list[list[int]]:
    whole = to_host(rows.whole_logits())
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in whole]


def running_of(row: np.ndarray) -> np.ndarray:
    return np.cumsum(np.exp(row - row.max())[full_order(row)], dtype=np.float64)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@given(values=logits(), counts=st.lists(st.integers(1, 25_000), min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_keep_best(library, values, counts):
    space = Space.of(LIBRARIES[library](values))
    rows = Rows(Passes(space, values.shape[1]), LIBRARIES[library](values))
    count = np.array(counts[: len(values)], dtype=np.int64)[:, None]
    rows.keep_best(space.put(count))
    for i, row in enumerate(values):
        order = full_order(row)
        order = order[np.isfinite(row[order])]
        assert survivors(rows)[i] == sorted(order[: counts[i]].tolist())


@given(values=logits(), share=st.floats(0.01, 0.9999))
@settings(max_examples=150, deadline=None)
def test_mass(values, share):
    """top_p's way: what a full sort needs to reach the mass is among what is cut to, in that order, with those running sums."""
    rows = Rows(Passes(Space.of(values), values.shape[1]), values.copy())
    mass = share * rows.total
    whole = Rows(rows.passes, values.copy())
    rows.take_flat(rows.heaviest(mass).flat)
    shown = to_host(rows.whole_logits())
    for i, row in enumerate(values):
        running = running_of(row)
        needed = min(1 + int((running < mass[i, 0]).sum()), len(row))
        order = full_order(row)
        cut = np.cumsum(np.exp(shown[i] - row.max())[full_order(shown[i])], dtype=np.float64)
        assert full_order(shown[i])[:needed].tolist() == order[:needed].tolist()
        np.testing.assert_array_equal(cut[:needed], running[:needed])
    assert whole.total.tolist() == Rows(rows.passes, values.copy()).total.tolist()


@given(values=logits(), count=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_best(values, count):
    rows = Rows(Passes(Space.of(values), values.shape[1]), values.copy())
    best = rows.best(count)
    for i, row in enumerate(values):
        wanted = np.sort(row)[::-1][:count]
        shown = best[i][: len(wanted)]
        np.testing.assert_array_equal(shown[np.isfinite(shown)], wanted[np.isfinite(wanted)])
    assert rows.tokens is None


@pytest.mark.parametrize("library", ["numpy", "torch"])
@given(values=logits(), numbers=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_whole_and_cut_rows_draw_the_same(library, values, numbers):
    """Searching block by block finds what one long running sum finds, up to the rounding of float32."""
    space = Space.of(LIBRARIES[library](values))
    uniform = np.array(numbers[: len(values)])[:, None]
    whole = Rows(Passes(space, values.shape[1]), LIBRARIES[library](values))
    cut = Rows(Passes(space, values.shape[1]), LIBRARIES[library](values))
    cut.keep(cut.logits > -np.inf)
    a = to_host(draw(whole, space.put(uniform)).tokens)[:, 0]
    b = to_host(draw(cut, space.put(uniform)).tokens)[:, 0]
    for i, row in enumerate(values):
        weights = np.exp(row.astype(np.float64) - row.max())
        running = np.cumsum(weights) / weights.sum()
        for token in (a[i], b[i]):
            assert np.isfinite(row[token])
            before = running[token - 1] if token else 0.0
            assert before - 1e-5 <= numbers[i] <= running[token] + 1e-5


@given(values=logits())
@settings(max_examples=60, deadline=None)
def test_sums(values):
    rows = Rows(Passes(Space.of(values), values.shape[1]), values.copy())
    weights = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    np.testing.assert_allclose(rows.total[:, 0], weights.sum(axis=1), rtol=1e-5)
    shares = weights / weights.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(shares * np.log(shares), axis=1)
    np.testing.assert_allclose(rows.entropy()[:, 0], entropy, rtol=1e-4, atol=1e-4)


@given(values=logits(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_single_tokens_are_found_in_whole_and_cut_rows(values, data):
    rows = Rows(Passes(Space.of(values), values.shape[1]), values.copy())
    if data.draw(st.booleans()):
        rows.keep_best(np.full((len(values), 1), data.draw(st.integers(1, 50))))
    alive = survivors(rows)
    tokens = [sorted(data.draw(st.sets(st.integers(0, values.shape[1] - 1), max_size=10))) for _ in values]
    which = np.repeat(np.arange(len(values)), [len(t) for t in tokens])
    flat = np.array([t for some in tokens for t in some], dtype=np.int64)
    at_rows, columns, found = rows.find(which, flat)
    if found is not None:
        kept = [(int(r), int(t)) for r, t, f in zip(which, flat, found, strict=True) if f]
        assert {(r, t) for r, t in zip(which.tolist(), flat.tolist(), strict=True) if t in alive[r]} <= set(kept)
        flat = flat[found]
    is_in = np.array([t in alive[r] for r, t in zip(at_rows.tolist(), flat.tolist(), strict=True)], dtype=bool)
    np.testing.assert_array_equal(rows.at(at_rows, columns), np.where(is_in, values[at_rows, flat], -np.inf))


def test_equals_go_to_the_lowest_id():
    values = np.array([[1.0, 3.0, 3.0, 3.0, 0.0]], dtype=np.float32)
    space = Space.of(values)
    assert likeliest(Rows(Passes(space, values.shape[1]), values)).tokens.tolist() == [[1]]
    rows = Rows(Passes(space, values.shape[1]), values.copy())
    rows.keep_best(np.array([[2]]))
    assert survivors(rows) == [[1, 2]]


@pytest.mark.parametrize("library", ["numpy", "torch", "strict"])
def test_what_is_no_number_is_out(library):
    values = np.array([[np.nan, 1.0, np.inf, -np.inf], [np.nan] * 4, [1.0, 2.0, 3.0, 4.0]], dtype=np.float32)
    rows = Rows(Passes(Space.of(LIBRARIES[library](values)), values.shape[1]), LIBRARIES[library](values))
    rows.repair()
    shown = to_host(rows.logits)
    assert np.isneginf(shown[0, [0, 3]]).all()
    assert np.isfinite(shown[0, [1, 2]]).all()
    assert shown[0].argmax() == 2
    assert np.isfinite(shown[1]).all()
    np.testing.assert_array_equal(shown[2], values[2])
