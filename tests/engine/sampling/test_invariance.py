"""A row is what it is alone: neither batch-mates nor its place in the batch change a bit of it. In float32, as it runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.sampling import SamplingParams
from publican.core.sampling.orders import ORDERS
from publican.engine.sampling.pipeline import Draw
from tests.engine.sampling.running import Runner, letters
from tests.engine.sampling.test_twins import cases

VOCAB_SIZE = 3000
MIXED = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.8, "top_p": 0.9},
    {"top_p": 0.97},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "order": ORDERS["llamacpp"]},
    {"temperature": 0.7, "min_p": 0.05, "repetition_penalty": 1.2, "dry_multiplier": 0.8, "presence_penalty": 0.3},
    {"temperature": 1.3, "xtc_probability": 0.5, "min_p": 0.02},
    {"xtc_probability": 1.0},
    {"mirostat_mode": 1},
    {"mirostat_mode": 2},
    {"adaptive_target": 0.4},
    {"typical_p": 0.8},
    {"tfs": 0.9},
    {"top_n_sigma": 1.5, "skew": 0.5},
    {"smoothing_factor": 0.3, "eta_cutoff": 0.01},
    {"dynamic_temperature": True, "dynatemp_low": 0.3, "dynatemp_high": 1.7},
    {"dynamic_temperature": True, "dynatemp_low": 0.0, "dynatemp_high": 1e-6},
    {"top_k": 5, "temperature": 2.0, "order": ORDERS["kobold"]},
    {"top_h": 0.6, "banned_tokens": (1, 2, 3)},
]


def texts() -> list[list[int]]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 30, 50 + i).tolist() for i in range(len(MIXED))]


def logits_like_a_model(num_rows: int, size: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((num_rows, size)) * rng.uniform(1.0, 4.0, (num_rows, 1))).astype(np.float32)


def run(
    library: str, which: list[int], logits: np.ndarray, steps: int = 3
) -> tuple[dict[int, np.ndarray], dict[int, list[int]]]:
    """Rows `which` of MIXED together for a few steps: what each is drawn from at last, and all of its tokens."""
    runner = Runner(library, letters(VOCAB_SIZE))
    lists = texts()
    rows = {i: runner.add(SamplingParams(seed=100 + i, **MIXED[i]), lists[i]) for i in which}
    shown: dict[int, np.ndarray] = {}
    for step in range(steps):
        stepped = np.stack([np.roll(logits[i], 7 * step) for i in which])
        processed = runner.process(stepped, [rows[i] for i in which])
        shown = {i: processed[place] for place, i in enumerate(which)}
        for i, choice in zip(which, runner.sample(stepped, [rows[i] for i in which]), strict=True):
            lists[i].append(choice.token)
    return shown, {i: lists[i] for i in which}


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_together_is_as_alone(library):
    logits = logits_like_a_model(len(MIXED), VOCAB_SIZE)
    together, tokens = run(library, list(range(len(MIXED))), logits)
    for i in range(len(MIXED)):
        alone, own = run(library, [i], logits)
        assert own[i] == tokens[i], MIXED[i]
        np.testing.assert_array_equal(alone[i], together[i], err_msg=str(MIXED[i]))


@pytest.mark.parametrize("library", ["numpy", "torch"])
@given(which=st.permutations(list(range(len(MIXED)))), count=st.integers(1, len(MIXED)))
@settings(max_examples=8, deadline=None)
def test_any_batch_in_any_order(library, which, count):
    logits = logits_like_a_model(len(MIXED), VOCAB_SIZE)
    whole, tokens = run(library, list(range(len(MIXED))), logits, steps=1)
    some, own = run(library, which[:count], logits, steps=1)
    for i in which[:count]:
        assert own[i] == tokens[i]
        np.testing.assert_array_equal(some[i], whole[i])


@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_random_rows(case):
    some_params, logits, lists, prompts, _ = case
    size = logits.shape[1]
    logits = logits.astype(np.float32)
    runner = Runner("numpy", letters(size, end=(2,), newline=3))
    rows = [runner.add(p, t, n) for p, t, n in zip(some_params, lists, prompts, strict=True)]
    together = runner.process(logits, rows)
    for i, row in enumerate(rows):
        alone = runner.process(logits[i : i + 1], [row])
        np.testing.assert_array_equal(alone[0], together[i])


@pytest.mark.parametrize("library", ["numpy", "torch", "strict"])
@pytest.mark.parametrize("busy", range(2, len(MIXED)))
def test_a_neutral_row_passes_bit_for_bit(library, busy):
    """Beside a row that does something, and as a member of its group: a neutral value stands where the other has its own."""
    logits = logits_like_a_model(3, 400)
    runner = Runner(library, letters(400))
    neutral = [runner.add(SamplingParams(seed=i), [1, 2, 3]) for i in range(2)]
    row = runner.add(SamplingParams(seed=5, **MIXED[busy]), [1, 2, 3, 1, 2])
    shown = runner.process(logits, [neutral[0], row, neutral[1]])
    np.testing.assert_array_equal(shown[0], logits[0])
    np.testing.assert_array_equal(shown[2], logits[2])


def test_a_sampler_that_is_off_leaves_its_groups_rows_alone():
    """Two rows of one group, of which only one has each further step: the other keeps the bits it has without."""
    logits = logits_like_a_model(2, 900)
    extra = {
        "temperature": 0.6,
        "top_p": 0.7,
        "typical_p": 0.6,
        "tfs": 0.8,
        "top_a": 0.3,
        "epsilon_cutoff": 0.01,
        "eta_cutoff": 0.01,
        "top_n_sigma": 0.8,
        "top_h": 0.4,
        "p_less": True,
        "xtc_probability": 1.0,
        "skew": 1.0,
        "smoothing_factor": 0.5,
        "dynatemp_range": 0.5,
        "repetition_penalty": 1.5,
        "adaptive_target": 0.3,
    }
    order = ("top_k", *(step for step in ORDERS["publican"] if step != "top_k"))
    for name, value in extra.items():
        runner = Runner("numpy", letters(900))
        plain = runner.add(SamplingParams(seed=1, top_k=50, order=order), [4, 5])
        alone = runner.process(logits[:1], [plain])
        busy = runner.add(SamplingParams(seed=2, top_k=50, order=order, **{name: value}), [4, 5])
        np.testing.assert_array_equal(runner.process(logits, [plain, busy])[0], alone[0], err_msg=name)


def test_one_row_of_logits_may_feed_several_rows():
    """Choices that share a prefill: what the samplers of one write is not seen by the other."""
    logits = logits_like_a_model(1, 500)
    runner = Runner("numpy", letters(500))
    lists = [[1, 2, 3] for _ in range(3)]
    wanted = [{"repetition_penalty": 1.9}, {"banned_tokens": (5,)}, {}]
    rows = [runner.add(SamplingParams(seed=9, **p), t) for p, t in zip(wanted, lists, strict=True)]
    shown = runner.process(logits, rows, [Draw(row, 0) for row in rows])
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(shown[i], runner.process(logits, [row])[0])
