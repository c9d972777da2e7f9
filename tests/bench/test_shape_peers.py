"""transformers on the shapes that are timed: it computes what was asked for, and says what it had no room for."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from publican.bench import shape_peers
from publican.bench.kernels import Ceilings
from publican.bench.shape_peers import time_transformers
from publican.bench.shape_times import ShapeConfig
from publican.bench.shapes import num_parameters, shape_named
from publican.executors.native.cuda.config import CudaConfig

pytest.importorskip("transformers")

CEILINGS = Ceilings("the CPU", 1e10, 1e11)
CONFIG = ShapeConfig(CudaConfig(("cpu",), kernels="torch"), (1, 3), (20,), 40, 2)


def test_every_case_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape of what it computes is looked at: so many sequences, so many tokens before."""
    asked: list[tuple[tuple[int, ...], int]] = []
    logits = shape_peers._logits

    def spy(model, tokens, cache):
        asked.append((tuple(tokens.shape), cache.get_seq_length() if cache else 0))
        out = logits(model, tokens, cache)
        assert out.shape == (len(tokens), 1, 500)
        assert out.dtype == torch.bfloat16
        assert out.isfinite().all()
        return out

    monkeypatch.setattr(shape_peers, "_logits", spy)
    spec = shape_named("tiny")
    weight_bytes, times = time_transformers(spec, CONFIG, CEILINGS, lambda text: None)
    assert weight_bytes == 2 * (num_parameters(spec) + spec.vocab_size * spec.hidden_size)
    assert [each.case for each in times] == ["decode, 1 × 20", "decode, 3 × 20", "prompt of 40"]
    assert all(each.seconds > 0 and each.share > 0 and not each.left_out for each in times)
    for size in (1, 3):
        assert [held for shape, held in asked if shape == (size, 1)] == [19, 20, 21, 22, 23]
    assert asked.count(((1, 40), 0)) == 5


def test_a_model_that_does_not_fit_is_left_out() -> None:
    """Said from numbers, before anything is made: no card is asked."""
    spec = shape_named("llama2-70b")
    config = dataclasses.replace(CONFIG, backend=CudaConfig(("cuda:0",)), memory_bytes=80 << 30)
    weight_bytes, times = time_transformers(spec, config, CEILINGS, lambda text: None)
    assert weight_bytes / 1e9 == pytest.approx(138, abs=2)
    assert [each.left_out for each in times] == ["its weights in bfloat16 do not fit here"]
