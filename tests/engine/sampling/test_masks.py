"""Masks on every array library: what is allowed stays bit for bit, all else goes, and a row keeps something."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.sampling import SamplingParams
from publican.engine.sampling.pipeline import Draw
from tests.engine.sampling.running import LIBRARIES, Runner

SIZE = 203


@pytest.mark.parametrize("library", LIBRARIES)
@given(
    seed=st.integers(0, 2**32),
    shares=st.lists(st.sampled_from([None, 0.0, 0.01, 0.3, 1.0]), min_size=1, max_size=5),
    num_words=st.sampled_from([1, 6, 7, 9]),
    is_bool=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_masked_rows(library, seed, shares, num_words, is_bool):
    """With tokens that are out already, masks that allow nothing, too short ones, too long ones, and rows without one."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((len(shares), SIZE)).astype(np.float32)
    logits[rng.random(logits.shape) < 0.5] = -np.inf
    logits[:, 100] = 1.0
    runner = Runner(library)
    draws, wanted = [], logits.copy()
    for i, share in enumerate(shares):
        allowed = rng.random(32 * num_words) < (share or 0.0)
        row = runner.add(SamplingParams(seed=i))
        words = np.packbits(allowed, bitorder="little").view(np.int32)
        draws.append(Draw(row, i, None if share is None else np.resize(allowed, SIZE) if is_bool else words))
        if share is not None:
            stays = np.resize(allowed, SIZE) if is_bool else np.concatenate((allowed, np.zeros(SIZE, bool)))[:SIZE]
            masked = np.where(stays, logits[i], -np.inf)
            wanted[i] = masked if np.isfinite(masked).any() else logits[i]
    np.testing.assert_array_equal(runner.process(logits, [], draws), wanted)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_vocabulary_larger_than_is_worked_on_at_once(library):
    size = 150_001
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((2, size)).astype(np.float32)
    allowed = rng.random(size) < 0.2
    runner = Runner(library)
    rows = [runner.add(SamplingParams(seed=i)) for i in range(2)]
    words = np.packbits(np.resize(allowed, size + 31 - (size - 1) % 32), bitorder="little").view(np.int32)
    shown = runner.process(logits, rows, [Draw(rows[0], 0, words), Draw(rows[1], 1)])
    np.testing.assert_array_equal(shown[0], np.where(allowed, logits[0], -np.inf))
    np.testing.assert_array_equal(shown[1], logits[1])
