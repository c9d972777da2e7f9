"""The pipeline and its plain twin agree on random stacks, orders and batches.

In float64, so that a token at the edge of a threshold is on the same side for both; float32 has a test of its own.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.sampling import DECLARED, SamplingParams
from publican.core.sampling.orders import ORDERS, STEPS
from publican.engine.sampling.pipeline import Draw
from publican.engine.sampling.reference import chain
from tests.engine.sampling.running import Runner, known_of, letters

SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def odd(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers that no threshold falls on by accident."""
    return st.integers(0, 10**6).map(lambda n: low + (high - low) * ((n * 0.6180339887498949) % 1.0))


VALUES: dict[str, st.SearchStrategy] = {
    "temperature": odd(0.05, 3.0),
    "temperature_last": st.booleans(),
    "dynamic_temperature": st.booleans(),
    "dynatemp_low": odd(0.0, 1.5),
    "dynatemp_high": odd(0.5, 3.0),
    "dynatemp_exponent": odd(0.2, 3.0),
    "dynatemp_range": odd(0.0, 1.0),
    "dynatemp_keeps_temperature": st.booleans(),
    "smoothing_factor": odd(0.01, 2.0),
    "smoothing_curve": odd(1.0, 3.0),
    "top_k": st.integers(1, 60),
    "top_k_keep_ties": st.booleans(),
    "top_p": odd(0.05, 0.999),
    "top_p_exclusive": st.booleans(),
    "min_p": odd(0.001, 0.6),
    "typical_p": odd(0.1, 0.99),
    "typical_rule": st.sampled_from(["ties", "strict", "exclusive"]),
    "tfs": odd(0.1, 0.999),
    "tfs_rule": st.sampled_from(["centred", "legacy"]),
    "top_a": odd(0.01, 0.9),
    "epsilon_cutoff": odd(0.0001, 0.1),
    "eta_cutoff": odd(0.0001, 0.3),
    "top_n_sigma": odd(0.3, 3.0),
    "top_n_sigma_sample": st.booleans(),
    "top_h": odd(0.1, 0.95),
    "p_less": st.booleans(),
    "min_keep": st.integers(0, 6),
    "xtc_probability": odd(0.1, 1.0),
    "xtc_threshold": odd(0.01, 0.5),
    "xtc_protect": st.sampled_from(["exclude", "abort", "none"]),
    "xtc_rule": st.sampled_from(["roll", "expectation"]),
    "skew": odd(-1.5, 1.5),
    "repetition_penalty": odd(0.7, 2.0),
    "repetition_penalty_range": st.integers(0, 30),
    "repetition_penalty_slope": odd(0.0, 4.0),
    "repetition_slope_rule": st.sampled_from(["koboldcpp", "koboldai"]),
    "repetition_decay": st.integers(0, 20),
    "repetition_decay_rule": st.sampled_from(["exllamav2", "exllamav3"]),
    "presence_penalty": odd(-1.0, 2.0),
    "frequency_penalty": odd(-0.5, 1.0),
    "penalty_scope": st.sampled_from(["context", "generated"]),
    "encoder_repetition_penalty": odd(0.7, 1.5),
    "no_repeat_ngram_size": st.integers(1, 4),
    "encoder_no_repeat_ngram_size": st.integers(1, 4),
    "dry_multiplier": odd(0.1, 2.0),
    "dry_base": odd(1.0, 3.0),
    "dry_allowed_length": st.integers(0, 3),
    "dry_range": st.integers(0, 40),
    "dry_sequence_breakers": st.sampled_from([(), ("a",), ("b", "aa"), ("cab",)]),
    "dry_max_match": st.integers(0, 6),
    "dry_rule": st.sampled_from(["llamacpp", "koboldcpp"]),
    "mirostat_mode": st.integers(1, 2),
    "mirostat_tau": odd(0.5, 5.0),
    "mirostat_truncates": st.booleans(),
    "adaptive_target": odd(0.0, 1.0),
    "adaptive_decay": odd(0.0, 0.99),
    "logit_bias": st.sampled_from([(), ((0, 2.5), (3, -1.5))]),
    "banned_tokens": st.sampled_from([(1,), (0, 2, 4), tuple(range(400))]),
    "allowed_tokens": st.sampled_from([(0, 1, 2, 3), (5,), (7, 30, 50)]),
    "sequence_bias": st.sampled_from([(((0, 1), -math.inf), ((2,), 1.5), ((1, 2), 0.5)), (((0,), -2.0), ((1, 0), 3.0))]),
    "min_tokens": st.integers(0, 10),
    "ban_eos_token": st.booleans(),
    "exponential_decay_length_penalty": st.just((2.0, 1.3)),
}

ORDERED = st.one_of(
    st.just(()),
    st.sampled_from(list(ORDERS.values())),
    st.permutations(STEPS).map(tuple),
    st.lists(st.sampled_from(STEPS), min_size=3, max_size=30).map(tuple),
)


@st.composite
def params(draw: st.DrawFn) -> SamplingParams:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=9, unique=True))
    values = {name: draw(VALUES[name]) for name in names}
    if draw(st.integers(0, 9)) == 0:
        values["temperature"] = 0.0
        values["dynamic_temperature"] = False
        values["dynatemp_range"] = 0.0
    return SamplingParams(seed=draw(st.integers(0, 2**64 - 1)), order=draw(ORDERED), **values)


@st.composite
def rows_of_logits(draw: st.DrawFn, num_rows: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.standard_normal((num_rows, size)) * draw(st.sampled_from([0.3, 2.0, 5.0]))
    kind = draw(st.integers(0, 3))
    if kind == 1:
        logits = np.round(logits)  # many equals
    elif kind == 2:
        logits[rng.random(logits.shape) < 0.4] = -np.inf
        logits[:, rng.integers(size)] = 1.0
    return logits


@st.composite
def cases(draw: st.DrawFn):
    num_rows = draw(st.integers(1, 5))
    size = draw(st.sampled_from([5, 31, 60, 300, 700]))
    texts = []
    for _ in range(num_rows):
        few = draw(st.integers(1, 4))
        texts.append(draw(st.lists(st.integers(0, few), max_size=40)))
    prompts = [draw(st.integers(0, len(text))) for text in texts]
    masks = [draw(st.one_of(st.none(), st.frozensets(st.integers(0, 4), min_size=1))) for _ in range(num_rows)]
    return [draw(params()) for _ in range(num_rows)], draw(rows_of_logits(num_rows, size)), texts, prompts, masks


def run(case, library: str, dtype=np.float64):
    """(what the pipeline makes of each row, the tokens it draws, what the twin makes of it, the tokens it draws)."""
    some_params, logits, texts, prompts, masks = case
    size = logits.shape[1]
    runner = Runner(library, letters(size, end=(2,), newline=3))
    rows = [runner.add(p, t, n) for p, t, n in zip(some_params, texts, prompts, strict=True)]
    draws = []
    for i, (row, mask) in enumerate(zip(rows, masks, strict=True)):
        bits = None if mask is None else np.isin(np.arange(size), sorted(mask))
        draws.append(Draw(row, i, bits))
    logits = logits.astype(dtype)
    shown = runner.process(logits, rows, draws)
    tokens = [choice.token for choice in runner.sample(logits, rows, draws)]
    wanted, wanted_tokens = [], []
    for i, p in enumerate(some_params):
        known = known_of(p, texts[i], prompts[i], runner.facts, allowed=masks[i])
        wanted.append(chain.process(logits[i], p, known))
        wanted_tokens.append(chain.sample(logits[i], p, known))
    return shown, tokens, np.array(wanted), wanted_tokens


def said(p: SamplingParams) -> dict:
    """What is not neutral, for a failure's message."""
    return {name: getattr(p, name) for name, parameter in DECLARED.items() if getattr(p, name) != parameter.neutral}


def weights(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits - logits.max())


@pytest.mark.parametrize("library", ["numpy", "torch"])
@given(case=cases())
@SETTINGS
def test_random_batches(library, case):
    shown, tokens, wanted, wanted_tokens = run(case, library)
    for i, p in enumerate(case[0]):
        assert np.flatnonzero(np.isfinite(shown[i])).tolist() == np.flatnonzero(np.isfinite(wanted[i])).tolist(), said(p)
        np.testing.assert_allclose(weights(shown[i]), weights(wanted[i]), rtol=0, atol=1e-9, err_msg=str(said(p)))
        if p.skew == 0.0 and p.xtc_rule == "roll":  # these two give differences of sums, and logits up to a constant
            np.testing.assert_allclose(shown[i], wanted[i], rtol=1e-7, atol=1e-7, err_msg=str(said(p)))
    assert tokens == wanted_tokens
