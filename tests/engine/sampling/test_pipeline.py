"""What the engine relies on: rows that come and go, go back and fork; masks, bans and guidance per step; log probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.sampling import SamplingParams
from publican.engine.sampling.pipeline import Choice, Draw, Pipeline
from publican.engine.sampling.reference import chain
from publican.engine.sampling.reference.row import Known, log_softmax, softmax
from tests.engine.sampling.running import LIBRARIES, Runner, letters

RNG = np.random.default_rng(12)
LOGITS = (RNG.standard_normal((6, 300)) * 3).astype(np.float32)
GREEDY = SamplingParams(temperature=0.0)
BUSY = {
    "repetition_penalty": 1.3,
    "repetition_penalty_range": 12,
    "frequency_penalty": 0.2,
    "dry_multiplier": 0.8,
    "no_repeat_ngram_size": 3,
    "sequence_bias": (((1, 2), -math.inf),),
    "min_p": 0.02,
}
STATEFUL = [
    {**BUSY, "mirostat_mode": 2, "mirostat_tau": 3.0},
    {**BUSY, "mirostat_mode": 1},
    {**BUSY, "adaptive_target": 0.3},
    BUSY,
]


def pieces_of(step: int) -> np.ndarray:
    return (np.random.default_rng(step).standard_normal((1, 60)) * 2).astype(np.float32)


@pytest.mark.parametrize("library", LIBRARIES)
def test_greedy_takes_the_lowest_of_equals(library):
    runner = Runner(library)
    rows = [runner.add(GREEDY) for _ in range(2)]
    choices = runner.sample(np.array([[1, 7, 7, 0], [5, 1, 2, 5]], dtype=np.float32), rows)
    assert choices == [Choice(1), Choice(0)]


def test_rows_are_used_again():
    pipeline = Pipeline()
    first = pipeline.add(SamplingParams(seed=1, top_k=1), [])
    second = pipeline.add(SamplingParams(seed=2, banned_tokens=(0,)), [])
    pipeline.remove(first)
    third = pipeline.add(SamplingParams(seed=3), [])
    assert third == first
    shown = pipeline.process(LOGITS[:2].copy(), [Draw(third, 0), Draw(second, 1)])
    np.testing.assert_array_equal(shown[0], LOGITS[0])
    assert np.isneginf(shown[1, 0])


@pytest.mark.parametrize("values", STATEFUL)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_rewind_is_as_if_nothing_had_been(values, data):
    """After going back, and on with other tokens, a row is what one is that never went there."""
    prompt = [3, 1, 2, 3, 1, 2]
    steps = data.draw(st.integers(1, 12))
    back_to = len(prompt) + data.draw(st.integers(0, steps - 1))
    runner = Runner("numpy", letters(60))
    tokens = list(prompt)
    row = runner.add(SamplingParams(seed=5, **values), tokens)
    for step in range(steps):
        tokens.append(runner.sample(pieces_of(step), [row])[0].token)
    kept = tokens[:back_to]
    if data.draw(st.booleans()):  # either before the engine drops the tokens or after
        del tokens[back_to:]
        runner.pipeline.rewind(row, back_to)
    else:
        runner.pipeline.rewind(row, back_to)
        del tokens[back_to:]
    fresh_tokens = list(prompt)
    fresh = runner.add(SamplingParams(seed=5, **values), fresh_tokens)
    for step, token in enumerate(kept[len(prompt) :]):
        runner.sample(pieces_of(step), [fresh])
        fresh_tokens.append(token)
    for step in range(20, 26):
        again, new = runner.process(np.repeat(pieces_of(step), 2, axis=0), [row, fresh])
        np.testing.assert_array_equal(again, new)
        (a, b) = runner.sample(np.repeat(pieces_of(step), 2, axis=0), [row, fresh])
        assert a.token == b.token
        tokens.append(a.token)
        fresh_tokens.append(b.token)


def test_a_token_put_in_by_the_engine_does_not_move_the_feedback():
    runner = Runner("numpy")
    tokens: list[int] = []
    row = runner.add(SamplingParams(seed=5, mirostat_mode=2), tokens)
    before = runner.process(pieces_of(1), [row])
    drawn = runner.sample(pieces_of(1), [row])[0].token
    tokens.append((drawn + 1) % 60)
    state = runner.pipeline._states[row]
    assert state.trails["mirostat"].settle(tokens) == (10.0,)
    np.testing.assert_array_equal(runner.process(pieces_of(1), [row]), before)
    tokens.append(runner.sample(pieces_of(1), [row])[0].token)
    assert state.trails["mirostat"].settle(tokens) != (10.0,)


@pytest.mark.parametrize("values", STATEFUL)
def test_a_fork_goes_its_own_way(values):
    runner = Runner("numpy", letters(60))
    tokens = [1, 2, 3]
    row = runner.add(SamplingParams(seed=5, **values), tokens)
    for step in range(6):
        tokens.append(runner.sample(pieces_of(step), [row])[0].token)
    other_tokens = list(tokens)
    other = runner.pipeline.fork(row, other_tokens)
    a, b = runner.process(np.repeat(pieces_of(9), 2, axis=0), [row, other])
    np.testing.assert_array_equal(a, b)
    other_tokens.append(7)
    tokens.append(runner.sample(pieces_of(9), [row])[0].token)
    shown = runner.process(pieces_of(10), [other])
    alone_tokens = list(other_tokens[:-1])
    alone = runner.pipeline.fork(other, alone_tokens)
    alone_tokens.append(7)
    np.testing.assert_array_equal(runner.process(pieces_of(10), [alone]), shown)


# --- masks, bans, guidance


def bits_of(allowed: set[int], size: int) -> np.ndarray:
    packed = np.packbits(np.isin(np.arange(size), sorted(allowed)), bitorder="little")
    return np.concatenate((packed, np.zeros(-len(packed) % 4, dtype=np.uint8))).view(np.int32)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("size", [1, 31, 32, 33, 257])
def test_masks(library, size):
    runner = Runner(library)
    allowed = set(range(0, size, 3))
    rows = [runner.add(SamplingParams(seed=i)) for i in range(4)]
    logits = np.repeat(LOGITS[:1, :size], 4, axis=0)
    as_bools = np.isin(np.arange(size), sorted(allowed))
    draws = [
        Draw(rows[0], 0, bits_of(allowed, size)),
        Draw(rows[1], 1),
        Draw(rows[2], 2, as_bools),
        Draw(rows[3], 3, None, (0, 999, -1)),
    ]
    shown = runner.process(logits, rows, draws)
    wanted = np.where(as_bools, logits[0], -np.inf)
    np.testing.assert_array_equal(shown[0], wanted)
    np.testing.assert_array_equal(shown[1], logits[1])
    np.testing.assert_array_equal(shown[2], wanted)
    assert np.isneginf(shown[3, 0]) == (size > 1)


def test_a_greedy_row_obeys_its_mask():
    runner = Runner()
    row = runner.add(GREEDY)
    best = int(LOGITS[0].argmax())
    others = set(range(300)) - {best}
    assert runner.sample(LOGITS[:1], [row])[0].token == best
    assert runner.sample(LOGITS[:1], [row], [Draw(row, 0, bits_of(others, 300))])[0].token != best
    assert runner.sample(LOGITS[:1], [row], [Draw(row, 0, None, (best,))])[0].token != best


def test_bans_that_leave_nothing_are_not_done():
    """A mask outranks bans: what a grammar wants comes even if everything it wants is banned."""
    runner = Runner("numpy", letters(300, end=(7,)))
    row = runner.add(SamplingParams(seed=1, banned_tokens=(4, 5), ban_eos_token=True, min_tokens=5), [])
    shown = runner.process(LOGITS[:1], [row], [Draw(row, 0, bits_of({4, 5, 7}, 300))])
    assert np.flatnonzero(np.isfinite(shown[0])).tolist() == [
        4,
        5,
    ]  # only the ban of the end, which is a step of its own, is done
    shown = runner.process(LOGITS[:1], [row], [Draw(row, 0, bits_of({4, 9}, 300))])
    assert np.flatnonzero(np.isfinite(shown[0])).tolist() == [9]
    shown = runner.process(LOGITS[:1], [row], [Draw(row, 0, bits_of(set(), 300))])
    assert np.isfinite(shown[0]).any()
    only = runner.add(SamplingParams(seed=1, allowed_tokens=(3,), banned_tokens=(3,)), [])
    assert runner.sample(LOGITS[:1], [only])[0].token == 3


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.5, 4.0])
def test_guidance(library, scale):
    conditional, without = LOGITS[0].copy(), LOGITS[1].copy()
    conditional[3] = without[3] = -np.inf
    conditional[4] = -np.inf
    without[5] = -np.inf
    p = SamplingParams(seed=1, guidance_scale=scale)
    runner = Runner(library)
    guided, plain = runner.add(p), runner.add(SamplingParams(seed=2))
    draws = [Draw(guided, 0, uncond_row=2), Draw(plain, 1)]
    shown = runner.process(np.stack([conditional, LOGITS[2], without]), [guided, plain], draws)
    known = Known(unconditional=without.astype(np.float64))
    np.testing.assert_allclose(shown[0], chain.process(conditional, p, known), rtol=1e-4, atol=1e-4)
    assert np.flatnonzero(np.isneginf(shown[0])).tolist() == [3, 4]
    np.testing.assert_array_equal(shown[1], LOGITS[2])


# --- broken logits


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("values", [{"temperature": 0.0}, {}, {"top_k": 3}, BUSY, {"mirostat_mode": 2}, {"typical_p": 0.5}])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_give_a_token(library, values, bad):
    runner = Runner(library, letters(300))
    row = runner.add(SamplingParams(seed=1, **values), [1, 2, 3])
    some = LOGITS[:1].copy()
    some[0, ::2] = bad
    all_bad = np.full((1, 300), bad, dtype=np.float32)
    assert 0 <= runner.sample(all_bad, [row])[0].token < 300
    token = runner.sample(some, [row])[0].token
    assert 0 <= token < 300
    assert token % 2 == (0 if bad == np.inf else 1)


@given(rows=st.integers(1, 3), kind=st.sampled_from([0.0, 3e38, -3e38, 1e-40]), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_extreme_logits(rows, kind, seed):
    rng = np.random.default_rng(seed)
    logits = rng.choice(np.array([kind, -kind, 0.0, 1.0, -np.inf], dtype=np.float32), size=(rows, 50))
    runner = Runner("numpy", letters(50))
    stacks = [BUSY, {"top_n_sigma": 1.0, "temperature": 0.01}, {"smoothing_factor": 2.0, "smoothing_curve": 2.5, "skew": 2.0}]
    for values in stacks:
        ids = [runner.add(SamplingParams(seed=i, **values), [1, 2, 1, 2]) for i in range(rows)]
        assert all(0 <= choice.token < 50 for choice in runner.sample(logits, ids))


# --- log probabilities and ranks


@pytest.mark.parametrize("library", LIBRARIES)
def test_raw_logprobs_are_the_models_own(library):
    runner = Runner(library, letters(300))
    texts = [[1, 2, 3], [4], []]
    values = [BUSY, {"temperature": 0.0, "logit_bias": ((5, 50.0),)}, {"top_k": 2}]
    rows = [
        runner.add(SamplingParams(seed=i, **v), t, num_logprobs=n)
        for i, (v, t, n) in enumerate(zip(values, texts, [3, 0, 7], strict=True))
    ]
    choices = runner.sample(LOGITS[:3], rows)
    assert choices[1].token == 5
    for i, (choice, count) in enumerate(zip(choices, [3, 0, 7], strict=True)):
        wanted = log_softmax(LOGITS[i].astype(np.float64))
        assert choice.logprob == pytest.approx(wanted[choice.token], abs=1e-5)
        best = np.argsort(-LOGITS[i], kind="stable")[:count]
        assert [token for token, _ in choice.top] == best.tolist()
        assert [value for _, value in choice.top] == pytest.approx(wanted[best].tolist(), abs=1e-5)


@pytest.mark.parametrize("library", LIBRARIES)
def test_processed_logprobs_are_those_of_the_draw(library):
    runner = Runner(library, letters(300))
    values = [{"top_k": 4, "temperature": 0.5}, {"temperature": 0.0}, {}]
    rows = [runner.add(SamplingParams(seed=i, processed_logprobs=True, **v), [], num_logprobs=6) for i, v in enumerate(values)]
    shown = runner.process(LOGITS[:3], rows).astype(np.float64)
    for row, choice in zip(shown, runner.sample(LOGITS[:3], rows), strict=True):
        probabilities = softmax(row)
        assert math.exp(choice.logprob) == pytest.approx(probabilities[choice.token], rel=1e-5)
        assert len(choice.top) == min(6, int(np.isfinite(row).sum()))
        assert sum(math.exp(value) for _, value in choice.top) == pytest.approx(
            np.sort(probabilities)[::-1][:6].sum(), rel=1e-5
        )


@pytest.mark.parametrize("library", LIBRARIES)
def test_logprobs_of_given_tokens(library):
    pipeline = Pipeline()
    tokens = [5, 299, 0]
    choices = pipeline.logprobs(LIBRARIES[library](LOGITS[:3]), tokens, 4)
    for i, choice in enumerate(choices):
        wanted = log_softmax(LOGITS[i].astype(np.float64))
        assert choice.token == tokens[i]
        assert choice.logprob == pytest.approx(wanted[tokens[i]], abs=1e-5)
        assert [t for t, _ in choice.top] == np.argsort(-LOGITS[i], kind="stable")[:4].tolist()
    assert pipeline.logprobs(LIBRARIES[library](LOGITS[:0]), [], 4) == []


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("first", [False, True])
def test_rank(library, first):
    """A greedy row is ranked by what its penalties leave; Hugging Face's beams penalise log probabilities."""
    p = SamplingParams(temperature=0.0, repetition_penalty=1.5)
    runner = Runner(library)
    best = np.argsort(-LOGITS[0])[:3].tolist()
    row = runner.add(p, best)
    (ranked,) = runner.pipeline.rank(LIBRARIES[library](LOGITS[:1]), [Draw(row, 0)], 5, normalise_first=first)
    start = log_softmax(LOGITS[0].astype(np.float64)) if first else LOGITS[0].astype(np.float64)
    scores = chain.before_draw(start, p, Known(best, 3))[0]
    wanted = scores if first else log_softmax(scores)
    order = np.argsort(-wanted, kind="stable")[:5]
    assert [token for token, _ in ranked] == order.tolist()
    assert [value for _, value in ranked] == pytest.approx(wanted[order].tolist(), abs=1e-4)


def test_the_engines_array_is_not_written_to_where_rows_share_it():
    runner = Runner("numpy")
    rows = [runner.add(SamplingParams(seed=i, banned_tokens=(int(LOGITS[0].argmax()),))) for i in range(2)]
    logits = LOGITS[:1].copy()
    runner.pipeline.sample(logits, [Draw(rows[0], 0), Draw(rows[1], 0)])
    np.testing.assert_array_equal(logits, LOGITS[:1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_widened(dtype):
    import torch

    half = torch.from_numpy(LOGITS[:2].copy()).to(getattr(torch, dtype))
    pipeline = Pipeline()
    rows = [pipeline.add(SamplingParams(seed=i, top_p=0.9), [], 2) for i in range(2)]
    choices = pipeline.sample(half, [Draw(row, i) for i, row in enumerate(rows)])
    again = pipeline.sample(half.to(torch.float32), [Draw(row, i) for i, row in enumerate(rows)])
    assert choices == again


def test_a_seed_is_all_there_is_to_a_draw():
    """Not the row it got, not what ran before, not who was beside it."""
    first = Pipeline()
    for _ in range(3):
        first.add(SamplingParams(seed=1), [])
    row = first.add(SamplingParams(seed=42, temperature=2.0), [1, 2])
    second = Pipeline()
    other = second.add(SamplingParams(seed=42, temperature=2.0), [1, 2])
    for step in range(20):
        a = first.sample(pieces_of(step), [Draw(row, 0)])
        b = second.sample(pieces_of(step), [Draw(other, 0)])
        assert a == b
