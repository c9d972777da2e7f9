"""Vectors of the default model, through the engine, against the hidden states of transformers with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from publican.core.events import Embedded
from publican.core.executor import Executor
from publican.core.ids import RequestId, TokenId
from publican.core.sampling import SamplingParams
from publican.engine.engine import Engine
from publican.engine.job import Job, Report, Submit
from publican.executors.llama import LlamaConfig
from publican.executors.llama import load as load_llama
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu.library import LibraryMissing
from publican.executors.native.loading import load
from publican.host.tokenizer import load_tokenizer
from publican.store.checkpoint import open_checkpoint
from tests.executors.native.test_default_model import TEXT, _in_transformers

TEXTS = [TEXT[:400], "A public house."]


@pytest.fixture(scope="module")
def tokens(default_model: Path) -> list[tuple[TokenId, ...]]:
    tokenizer = load_tokenizer(open_checkpoint(default_model))
    return [tuple(tokenizer.encode(text)) for text in TEXTS]


@pytest.fixture(scope="module")
def truth(default_model: Path, tokens: list[tuple[TokenId, ...]]) -> list[np.ndarray]:
    """After the last norm, as the executors give them: [tokens, hidden_size] of each text."""
    model = _in_transformers(default_model)
    with torch.inference_mode():
        return [model.model(torch.tensor([one])).last_hidden_state[0].numpy() for one in tokens]


@pytest.fixture(scope="module", params=["plain", "cpu", "llama"])
def executor(request: pytest.FixtureRequest, default_model: Path) -> Iterator[Executor]:
    if request.param == "llama":
        pytest.importorskip("llama_cpp")
        made: Executor = load_llama(default_model, LlamaConfig(context_len=512, num_cells=1_024, num_threads=2))
    else:
        config = NativeConfig(backend=request.param, context_len=512, num_slots=8, max_batch_tokens=64)
        try:
            made = load(open_checkpoint(default_model), config)
        except LibraryMissing:
            pytest.skip("the C++ library is not built here")
    yield made
    made.close()


def test_they_are_those_of_transformers(executor, default_model, tokens, truth):
    vectors: dict[RequestId, tuple[float, ...]] = {}

    def emit(report: Report) -> None:
        vectors.update({id: event.vector for id, event in report.events if isinstance(event, Embedded)})

    vocabulary = load_tokenizer(open_checkpoint(default_model)).vocabulary
    engine = Engine(executor, vocabulary, emit)
    for i, one in enumerate(tokens):
        for pooling in ("mean", "last"):
            engine.inbox.put(Submit(Job(RequestId(f"{i} {pooling}"), one, SamplingParams(seed=0), pooling=pooling)))
    engine.handle_commands(wait=False)
    for _ in range(1_000):
        if not engine.step():
            break
    assert len(vectors) == 2 * len(tokens)
    for i, states in enumerate(truth):
        for pooling, expected in (("mean", states.mean(0)), ("last", states[-1])):
            cosine = cosine_of(vectors[RequestId(f"{i} {pooling}")], expected)
            assert cosine > (0.999999 if "NumPy" in executor.info.device else 0.995), (i, pooling, cosine)


def cosine_of(a, b) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
