"""An engine samples with its executor's own `top`, and says the same as without."""

from __future__ import annotations

import numpy as np
import pytest

from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu.library import LibraryMissing
from publican.executors.native.loading import load
from publican.store.checkpoint import open_checkpoint
from tests.engine.drive import Driver
from tests.engine.sampling.test_short import by_sorting
from tests.executors.native import tiny

STACKS = [
    SamplingParams(seed=1, temperature=0.8, top_k=40, top_p=0.95),
    SamplingParams(seed=2, temperature=1.3, min_p=0.05),
    SamplingParams(seed=3, top_p=0.9),
    SamplingParams(seed=4, top_k=20, min_p=0.02, repetition_penalty=1.2, dry_multiplier=0.8),
    SamplingParams(seed=5),
    SamplingParams(temperature=0.0),
]


class Counted:
    """A `top` that counts how often it is asked."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        self.num_calls += 1
        return by_sorting(logits, count)


def said(top: Counted | None, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    if top is not None:
        monkeypatch.setattr("publican.executors.fake.FakeExecutor.top", staticmethod(top), raising=False)
    driver = Driver()
    ids = [driver.submit(f"prompt {i}", sampling=p, wanted=Wanted(num_choices=2), max_tokens=25) for i, p in enumerate(STACKS)]
    driver.run()
    return [driver.answers[id].tokens(index) for id in ids for index in range(2)]


def test_an_engine_says_the_same_with_it(monkeypatch):
    without = said(None, monkeypatch)
    top = Counted()
    assert said(top, monkeypatch) == without
    assert top.num_calls > 20
    assert all(len(tokens) == 25 for tokens in without)


def test_the_cpu_backend_has_one_and_plain_has_none(tmp_path):
    tiny.quiet()
    folder = tiny.save(tiny.make("Llama", seed=1), tmp_path)
    plain = load(open_checkpoint(folder), NativeConfig(backend="plain", context_len=64, num_slots=1, max_logits=2))
    assert plain.top is None
    plain.close()
    try:
        cpu = load(open_checkpoint(folder), NativeConfig(backend="cpu", context_len=64, num_slots=1, max_logits=2))
    except LibraryMissing:
        pytest.skip("the C++ operations are not compiled")
    logits = np.random.default_rng(0).standard_normal((3, 5_000)).astype(np.float32)
    for given, wanted in zip(cpu.top(logits, 7), by_sorting(logits, 7), strict=True):
        np.testing.assert_array_equal(given, wanted)
    cpu.close()
