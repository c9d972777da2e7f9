"""The short way gives what the batch's way gives, to the last bit."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.executor import Top
from publican.core.sampling import SamplingParams
from publican.core.sampling.orders import ORDERS, STEPS
from publican.engine.sampling import group
from publican.engine.sampling.arrays import Space
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.pipeline import Draw, Pipeline
from publican.engine.sampling.recipe import STEPS as SHORT
from publican.engine.sampling.recipe import recipe_of
from publican.engine.sampling.short import ShortRow, WholeRow
from publican.engine.sampling.stack import stack_of
from publican.executors.native.cpu.library import Engine, LibraryMissing, load_library
from tests.engine.sampling.running import Runner
from tests.engine.sampling.test_rows import logits

ORDERED = st.one_of(
    st.just(()),
    st.sampled_from(list(ORDERS.values())),
    st.permutations(STEPS).map(tuple),
    st.lists(st.sampled_from(sorted(SHORT)), min_size=1, max_size=6).map(tuple),
)


@st.composite
def params(draw: st.DrawFn) -> SamplingParams:
    given_values = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.sampled_from([0.0, 1e-5, 0.05, 0.7, 1.0, 1.3, 5.0, 1e9]),
                "top_k": st.sampled_from([1, 2, 5, 40, 63, 64, 300, 10_000]),
                "top_p": st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.95, 0.999999]),
                "min_p": st.sampled_from([1e-9, 0.01, 0.05, 0.5, 1.0]),
                "top_k_keep_ties": st.booleans(),
                "top_p_exclusive": st.booleans(),
                "temperature_last": st.booleans(),
            },
        )
    )
    return SamplingParams(seed=draw(st.integers(0, 2**64 - 1)), order=draw(ORDERED), **given_values)


@given(values=logits(), p=params())
@settings(max_examples=300, deadline=None)
def test_the_same_survivors(values, p):
    if not np.isfinite(values.max(axis=1)).all() or p.is_greedy:
        return
    runner = Runner("numpy")
    row = runner.add(p, [])
    batch_way = runner.process(values[:1], [row])[0]
    passes = Passes(Space.of(values), values.shape[1])
    whole = WholeRow(passes, values[0], np.empty_like(values[0]))
    whole.peak = values[0].max()
    short = ShortRow(whole, recipe_of(p, stack_of(p)))
    survivors = np.arange(values.shape[1]) if short.tokens is None else short.tokens
    shown = np.full_like(values[0], -np.inf)
    shown[survivors] = short.logits if short.scale is None else short.logits * short.scale
    np.testing.assert_array_equal(shown, batch_way)


def by_sorting(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`core.executor.Top` in plain words."""
    tokens = np.full((len(values), count), -1, np.int32)
    best = np.full((len(values), count), -np.inf, np.float32)
    for i, row in enumerate(values):
        numbers = np.flatnonzero(~np.isnan(row))
        order = numbers[np.argsort(-row[numbers], kind="stable")][:count]
        tokens[i, : len(order)], best[i, : len(order)] = order, row[order]
    return tokens, best


@pytest.fixture(scope="module")
def tops() -> dict[str, Top | None]:
    """Nobody's, the plain one, and the C++ library's, where it is compiled."""
    found: dict[str, Top | None] = {"none": None, "plain": by_sorting}
    with contextlib.suppress(LibraryMissing):
        found["cpu"] = Engine(load_library(), 2).top
    return found


@st.composite
def flawed(draw: st.DrawFn) -> np.ndarray:
    """Logits, some of which are no numbers, infinite, or all out."""
    values = draw(logits())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    for flaw in (np.nan, np.inf, -np.inf, np.finfo(np.float32).max):
        if draw(st.integers(0, 3)) == 0:
            values[rng.random(values.shape) < draw(st.sampled_from([1e-3, 0.3, 1.0]))] = flaw
    return values


def tokens_of(values: np.ndarray, some: list[SamplingParams], top: Top | None, few: int) -> list[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "FEW", few)
        pipeline = Pipeline(top=top)
        rows = [pipeline.add(p, [1, 2, 3]) for p, _ in zip(some, values, strict=False)]
        return [choice.token for choice in pipeline.sample(values.copy(), [Draw(row, i) for i, row in enumerate(rows)])]


@given(values=st.one_of(logits(), flawed()), some=st.lists(params(), min_size=4, max_size=4))
@settings(max_examples=300, deadline=None)
def test_the_same_tokens(values, some, tops):
    wanted = tokens_of(values, some, None, few=0)
    for name, top in tops.items():
        assert tokens_of(values, some, top, few=16) == wanted, name


@given(values=logits(), some=st.lists(params(), min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_same_tokens_of_a_row_that_many_read(values, some, tops):
    """Choices that share a prefill, rows out of order, and what a penalty did before."""
    some = [replace(p, banned_tokens=(0,)) if i % 2 and values.shape[1] > 2 else p for i, p in enumerate(some)]
    wanted = None
    for few, top in [(0, None), *((16, top) for top in tops.values())]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(group, "FEW", few)
            pipeline = Pipeline(top=top)
            draws = [Draw(pipeline.add(p, [1, 2, 3]), i % len(values)) for i, p in enumerate(some)]
            drawn = pipeline.sample(values.copy(), draws[::-1])
        wanted = wanted or drawn
        assert drawn == wanted


def test_which_groups_go_it():
    runner = Runner("numpy")
    values = np.random.default_rng(0).standard_normal((1, 100)).astype(np.float32)
    goes = [
        {},
        {"top_p": 0.5},
        {"repetition_penalty": 1.2, "dry_multiplier": 1.0, "min_p": 0.1},
        {"banned_tokens": (1,), "top_k": 3},
    ]
    does_not = [
        {"min_keep": 2, "top_p": 0.5},
        {"typical_p": 0.5},
        {"xtc_probability": 0.5},
        {"mirostat_mode": 2},
        {"skew": 0.1},
    ]
    does_not += [{"top_k": 3, "repetition_penalty": 1.2, "order": ("top_k", "repetition_penalty")}]
    for values_of, wanted in [(v, True) for v in goes] + [(v, False) for v in does_not]:
        row = runner.add(SamplingParams(seed=1, **values_of), [1, 2])
        runner.sample(values, [row])
        (plan,) = (plan for key, plan in runner.pipeline._plans.items() if key == (row,))
        assert (plan[0].recipes is not None) == wanted, values_of
