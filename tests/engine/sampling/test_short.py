"""The short way gives what the batch's way gives, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.sampling import SamplingParams
from publican.core.sampling.orders import ORDERS, STEPS
from publican.engine.sampling import group
from publican.engine.sampling.arrays import Space
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.pipeline import Draw, Pipeline
from publican.engine.sampling.short import STEPS as SHORT
from publican.engine.sampling.short import ShortRow, recipe_of
from publican.engine.sampling.stack import stack_of
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
                "temperature": st.sampled_from([1e-5, 0.05, 0.7, 1.0, 1.3, 5.0, 1e9]),
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
    if not np.isfinite(values.max(axis=1)).all():
        return
    runner = Runner("numpy")
    row = runner.add(p, [])
    batch_way = runner.process(values[:1], [row])[0]
    passes = Passes(Space.of(values))
    short = ShortRow(passes, values[0], values[0].max(), recipe_of(p, stack_of(p)))
    survivors = np.arange(values.shape[1]) if short.tokens is None else short.tokens
    shown = np.full_like(values[0], -np.inf)
    shown[survivors] = short.logits if short.scale is None else short.logits * short.scale
    np.testing.assert_array_equal(shown, batch_way)


@given(values=logits(), some=st.lists(params(), min_size=4, max_size=4))
@settings(max_examples=200, deadline=None)
def test_the_same_tokens(values, some):
    texts = [[1, 2, 3]] * len(values)
    chosen = []
    for few in (16, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(group, "FEW", few)
            pipeline = Pipeline()
            rows = [pipeline.add(p, t) for p, t in zip(some, texts, strict=False)]
            chosen.append(pipeline.sample(values.copy(), [Draw(row, i) for i, row in enumerate(rows[: len(values)])]))
    assert chosen[0] == chosen[1]


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
        (plan,) = (plan for key, plan in runner.pipeline._plans.items() if key[1] == (row,))
        assert (plan[0].recipes is not None) == wanted, values_of
