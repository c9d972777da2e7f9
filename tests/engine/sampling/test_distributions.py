"""What is drawn is distributed as the twin says: chi-square over many seeds, for every random sampler."""

from __future__ import annotations

import math

import numpy as np
import pytest

from publican.core.sampling import SamplingParams
from publican.engine.sampling.pipeline import Draw
from publican.engine.sampling.reference import chain
from publican.engine.sampling.reference.row import softmax
from tests.engine.sampling.running import Runner, known_of, letters

SIZE = 40
NUM_DRAWS = {"numpy": 6000, "torch": 1500}
"""torch is slow at this, and runs the same code."""
LOGITS = np.random.default_rng(5).standard_normal(SIZE) * 1.5

RANDOM = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "hot": {"temperature": 2.0, "top_p": 0.9},
    "top_k": {"top_k": 10},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.7},
    "skew": {"skew": 0.6},
    "xtc": {"xtc_probability": 0.4, "xtc_threshold": 0.05, "xtc_protect": "none"},
    "xtc expectation": {"xtc_probability": 0.4, "xtc_threshold": 0.05, "xtc_protect": "none", "xtc_rule": "expectation"},
    "mirostat 1": {"mirostat_mode": 1, "mirostat_tau": 3.0},
    "mirostat 2": {"mirostat_mode": 2, "mirostat_tau": 2.0},
    "adaptive_p": {"adaptive_target": 0.2},
}


def chi_square_p(observed: np.ndarray, expected: np.ndarray) -> float:
    """Wilson and Hilferty's approximation of the upper tail; cells with few expected are put together."""
    order = np.argsort(expected)
    small = np.cumsum(expected[order]) < 10
    rare = order[small]
    cells = np.concatenate((observed[order[~small]], [observed[rare].sum()]))
    wanted = np.concatenate((expected[order[~small]], [expected[rare].sum()]))
    cells, wanted = cells[wanted > 0], wanted[wanted > 0]
    statistic = ((cells - wanted) ** 2 / wanted).sum()
    freedom = len(cells) - 1
    if freedom == 0:
        return 1.0
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(z / math.sqrt(2))


def expected_of(values: dict) -> np.ndarray:
    """The distribution over the numbers drawn: XTC's roll is averaged, all else is fixed."""
    p = SamplingParams(seed=0, **values)
    facts = Runner("numpy", letters(SIZE)).facts
    parts = []
    for number in (0.0, 0.999999) if values.get("xtc_rule", "roll") == "roll" and "xtc_probability" in values else (0.0,):
        known = known_of(p, [1, 2], 2, facts)
        known.xtc_number = number
        parts.append(softmax(chain.before_draw(LOGITS, p, known)[0]))
    if len(parts) == 2:
        return p.xtc_probability * parts[0] + (1.0 - p.xtc_probability) * parts[1]
    return parts[0]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", RANDOM)
def test_chi_square(name, library):
    values = RANDOM[name]
    runner = Runner(library, letters(SIZE))
    batch = 300
    counts = np.zeros(SIZE)
    for start in range(0, NUM_DRAWS[library], batch):
        rows = [runner.add(SamplingParams(seed=start + i, **values), [1, 2]) for i in range(batch)]
        logits = LOGITS[None, :].astype(np.float32)
        for choice in runner.sample(logits, rows, [Draw(row, 0) for row in rows]):
            counts[choice.token] += 1
        for row in rows:
            runner.pipeline.remove(row)
    expected = expected_of(values)
    assert counts[expected == 0].sum() == 0
    assert chi_square_p(counts, expected * NUM_DRAWS[library]) > 1e-4, name


def test_the_check_itself_can_fail():
    expected = np.full(20, 100.0)
    rng = np.random.default_rng(1)
    assert chi_square_p(rng.multinomial(2000, np.full(20, 0.05)), expected) > 1e-3
    assert chi_square_p(rng.multinomial(2000, np.arange(1, 21) / 210), expected) < 1e-6


def test_a_sequence_of_draws_is_distributed_too():
    """Along one sequence the numbers of successive positions are independent."""
    runner = Runner("numpy")
    tokens: list[int] = []
    row = runner.add(SamplingParams(seed=77), tokens)
    logits = np.log(np.array([[0.5, 0.3, 0.2]], dtype=np.float32))
    for _ in range(4000):
        tokens.append(runner.sample(logits, [row])[0].token)
    counts = np.bincount(tokens, minlength=3)
    assert chi_square_p(counts, np.array([0.5, 0.3, 0.2]) * 4000) > 1e-4
    pairs = np.bincount(3 * np.array(tokens[:-1:2]) + np.array(tokens[1::2]), minlength=9)
    assert chi_square_p(pairs, np.outer([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]).ravel() * 2000) > 1e-4


def test_mirostat_comes_to_its_tau():
    """The mean surprise of a long text, in bits, under a model whose distribution changes from token to token."""
    rng = np.random.default_rng(8)
    pool = np.sort(rng.standard_normal((50, 2000)) * 2.5)[:, ::-1].astype(np.float32)
    for mode, tau in ((1, 3.0), (2, 3.0), (2, 5.0)):
        runner = Runner("numpy")
        tokens: list[int] = []
        row = runner.add(SamplingParams(seed=3, mirostat_mode=mode, mirostat_tau=tau), tokens)
        surprises = []
        for step in range(1500):
            shown = runner.process(pool[step % 50][None, :], [row])[0].astype(np.float64)
            token = runner.sample(pool[step % 50][None, :], [row])[0].token
            tokens.append(token)
            surprises.append(-np.log2(softmax(shown)[token]))
        assert np.mean(surprises[300:]) == pytest.approx(tau, abs=0.1), (mode, tau)


def test_adaptive_p_follows_its_target():
    """The mean probability of the drawn tokens rises with the target and stays near it."""
    means = []
    for target in (0.1, 0.3, 0.5):
        rng = np.random.default_rng(9)
        runner = Runner("numpy")
        tokens: list[int] = []
        row = runner.add(SamplingParams(seed=4, adaptive_target=target, adaptive_decay=0.95, min_p=0.02), tokens)
        chances = []
        for _ in range(600):
            logits = (rng.standard_normal((1, 300)) * 3.0).astype(np.float32)
            tokens.append(runner.sample(logits, [row])[0].token)
            kept = np.where(logits[0] >= logits[0].max() + math.log(0.02), logits[0], -np.inf).astype(np.float64)
            chances.append(softmax(kept)[tokens[-1]])
        means.append(float(np.mean(chances[100:])))
    assert means[:2] == pytest.approx([0.1, 0.3], abs=0.1)
    assert means == sorted(means)  # these distributions seldom have a token of 0.5 to give
