"""Numbers that depend on (seed, position, purpose) and on nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from publican.engine.sampling.rng import Purpose, mixed_seed, uniform, uniforms
from tests.engine.sampling.test_distributions import chi_square_p


def test_uniform_numbers():
    seeds = [0, 1, 7, 2**63, 2**64 - 1]
    positions = [0, 1, 5000, 2**31, 12]
    for purpose in Purpose:
        wanted = [uniform(s, p, purpose) for s, p in zip(seeds, positions, strict=True)]
        mixed = [mixed_seed(s) for s in seeds]
        assert uniforms(mixed, positions, purpose) == wanted
        assert uniforms(mixed * 10, positions * 10, purpose) == wanted * 10
    numbers = np.array([uniform(s, p, purpose) for s in range(20) for p in range(100) for purpose in Purpose])
    assert len(set(numbers.tolist())) == len(numbers)
    assert 0.0 <= numbers.min() < numbers.max() < 1.0
    assert chi_square_p(np.histogram(numbers, bins=40, range=(0, 1))[0].astype(float), np.full(40, 100.0)) > 1e-4


def test_mt19937_of_the_peers():
    """Not ours: what a peer's seed would give, as the notes have it. publican promises no seed equality with any peer."""
    for case in json.loads((Path(__file__).parent / "sampler_vectors.json").read_text())["rng_mt19937"]:
        raw = np.random.RandomState(case["seed"]).randint(0, 2**32, size=6, dtype=np.uint32)
        assert raw.tolist() == case["mt19937_raw_u32"]
        doubles = [(int(a) + int(b) * 2**32) / 2**64 for a, b in zip(raw[::2], raw[1::2], strict=True)]
        assert doubles == pytest.approx(case["double_draws"], rel=1e-12)
        assert [int(a) / 2**32 for a in raw[:3]] == pytest.approx(case["float_draws"], rel=1e-6)
