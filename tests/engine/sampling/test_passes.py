"""The passes over whole rows on torch: what is looked for in groups is found; how often a step waits for the device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from publican.bench.samplers import STACKS, logits_like_a_model
from publican.engine.sampling.arrays import Space
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.pipeline import Draw
from tests.engine.sampling.running import Runner, letters


@given(
    size=st.sampled_from([64, 65, 127, 128, 1000, 4096, 20_001]),
    num_rows=st.integers(1, 4),
    depth=st.sampled_from([-1.0, 0.0, 0.5, 3.0, 1e9, np.inf, np.nan]),
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["plain", "equals", "out", "no numbers"]),
)
@settings(max_examples=200, deadline=None)
def test_what_reaches_a_floor(size, num_rows, depth, seed, kind):
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((num_rows, size)) * 4).astype(np.float32)
    if kind == "equals":
        values = np.round(values)
    if kind == "out":
        values[rng.random(values.shape) < 0.5] = -np.inf
    if kind == "no numbers":
        values[rng.random(values.shape) < 0.01] = np.nan
    highest = np.fmax.reduce(values, axis=-1, keepdims=True)
    floor = (highest - np.where(rng.random((num_rows, 1)) < 0.5, depth, 0.0)).astype(np.float32)
    here = torch.from_numpy(values)
    passes = Passes(Space.of(here), size)
    passes._groups_from = 0  # however few they are
    found = passes.above(here, torch.from_numpy(floor))
    np.testing.assert_array_equal(found.numpy(), np.flatnonzero(values >= floor))


def test_a_few_are_found_without_comparing_all():
    """What makes it fast is that whole rows meet the maximum and nothing else."""
    here = torch.from_numpy(logits_like_a_model(1, 8, 49_152)[0])
    passes, floor = Passes(Space.of(here), 49_152), torch.amax(here, 1, keepdim=True) - 3.0
    with _Sizes() as sizes:
        passes.above(here, floor)
    assert sizes.most["nonzero"] < here.numel() // 8
    assert "ge" not in sizes.most or sizes.most["ge"] < here.numel() // 8


@pytest.mark.parametrize(("stack", "most"), [("greedy", 2), ("neutral", 2), ("chat", 4), ("llama.cpp's default", 6)])
def test_how_often_a_step_waits(stack, most):
    """On a card each of these is a wait for all that was asked of it. So few numbers go a card's way here, too."""
    logits = logits_like_a_model(2, 4, 4096)
    runner = Runner("torch", letters(4096))
    rows = [runner.add(replace(STACKS[stack], seed=seed), [1, 2, 3, 1, 2]) for seed in range(4)]
    runner.sample(logits[0], rows)  # what a group of rows works out once is no part of a step
    here = torch.from_numpy(logits[1].copy())
    with _Sizes() as sizes:
        runner.pipeline.sample(here, [Draw(row, i) for i, row in enumerate(rows)])
    assert sizes.num_waits <= most


def test_all_masks_of_a_step_are_one_wait():
    logits = logits_like_a_model(1, 8, 4096)[0]
    runner = Runner("torch")
    draws = [Draw(runner.add(STACKS["greedy"]), i, np.arange(4096) % 8 != i) for i in range(8)]
    with _Sizes() as masked:
        runner.sample(logits, [], draws)
    with _Sizes() as free:
        runner.sample(logits, [], [draw._replace(mask=None) for draw in draws])
    assert masked.num_waits <= free.num_waits + 2  # logits that are no numbers are looked for before masks, too


class _Sizes(TorchDispatchMode):
    """The most numbers that each operation was given, and how many of them a host would have to wait for."""

    def __init__(self):
        super().__init__()
        self.most, self.num_waits = {}, 1  # the tokens themselves come back at the end

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        sizes = [arg.numel() for arg in args if isinstance(arg, torch.Tensor)]
        self.most[name] = max([self.most.get(name, 0), *sizes])
        by_mask = name == "index" and any(one is not None and one.dtype == torch.bool for one in args[1])
        self.num_waits += name in ("nonzero", "_local_scalar_dense") or by_mask
        return function(*args, **(kwargs or {}))
