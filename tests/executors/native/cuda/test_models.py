"""Every kind of family, the default model, and the engine with its samplers on the backend's tensors: as `plain` has it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from publican.core.executor import Executor
from publican.core.ids import RequestId, TokenId
from publican.core.request import Stopping, Wanted
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.engine import Engine
from publican.engine.job import Job, Submit
from publican.executors.native.config import NativeConfig
from publican.executors.native.loading import load
from publican.store.checkpoint import open_checkpoint
from tests.engine.drive import Answer, Driver
from tests.executors.drive import Drive
from tests.executors.native import tiny
from tests.executors.native.cuda.on_cpu import load_on_cpu
from tests.executors.native.test_default_model import CHAT_TOKENS

CONFIG = NativeConfig(context_len=64, num_slots=6, num_pages=40, page_len=4, max_batch_tokens=128, max_logits=128)
STACK = SamplingParams(
    temperature=0.9, top_k=40, top_p=0.95, min_p=0.02, repetition_penalty=1.1, presence_penalty=0.2, dry_multiplier=0.8,
    xtc_probability=0.3, xtc_threshold=0.05, seed=3,
)  # fmt: skip


DIFFERENT = (
    "llama, tied and biased", "mistral", "qwen3", "gemma2", "gemma3", "phi4-mini", "smollm3", "granite", "olmo2",
    "mixtral", "qwen2-moe", "qwen3-moe",
)  # fmt: skip
"""Those that no other one here has every operation of."""


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_kind_of_family(name: str, tmp_path: Path) -> None:
    """Prompts in chunks, decoding beside them, a shared prefix."""
    class_name, options = tiny.MODELS[name]
    checkpoint = open_checkpoint(tiny.save(tiny.make(class_name, **options), tmp_path))
    tokens = np.random.default_rng(1).integers(0, tiny.VOCAB, (2, 45)).tolist()
    seen: list[list[np.ndarray]] = []
    for executor in (load(checkpoint, CONFIG), load_on_cpu(checkpoint, CONFIG)):
        drive = Drive(executor)
        found = [drive.step({0: tokens[0][:30], 1: tokens[1][:7]}, num_logits=None)]
        drive.share(0, 2, 22)
        found.append(drive.step({0: tokens[0][30:31], 1: tokens[1][7:45], 2: tokens[1][:3]}, num_logits=None))
        seen.append([logits[slot] for logits in found for slot in sorted(logits)])
    for one, other in zip(*seen, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=3e-5 * max(1.0, np.abs(one).max()))


class EngineDriver(Driver):
    """An engine on an executor whose tokens stand for words of their own."""

    def __init__(self, executor: Executor) -> None:
        vocabulary = Vocabulary(tuple(f" w{i}".encode() for i in range(executor.info.vocab_size)))
        self.engine = Engine(executor, vocabulary, self._emit)
        self.answers: dict[RequestId, Answer] = defaultdict(Answer)

    def sampled(self, prompts: list[list[int]], sampling: SamplingParams) -> list[list[int]]:
        ids = [RequestId(f"job-{i}") for i in range(len(prompts))]
        for id, prompt in zip(ids, prompts, strict=True):
            job = Job(id, tuple(map(TokenId, prompt)), sampling, Stopping(max_tokens=12, ignore_eos=True), Wanted())
            self.engine.inbox.put(Submit(job))
        self.run()
        return [self.answers[id].tokens() for id in ids]


@pytest.mark.parametrize("sampling", [SamplingParams(temperature=0.0, seed=0), STACK], ids=["greedy", "stack"])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_the_engine_samples_from_tensors_as_from_arrays(name: str, sampling: SamplingParams, tmp_path: Path) -> None:
    """The logits never leave the backend's device as an array; the same seed draws the same tokens."""
    class_name, options = tiny.MODELS[name]
    checkpoint = open_checkpoint(tiny.save(tiny.make(class_name, **options), tmp_path))
    prompts = np.random.default_rng(2).integers(0, tiny.VOCAB, (3, 20)).tolist()
    answers = []
    for executor in (load(checkpoint, CONFIG), load_on_cpu(checkpoint, CONFIG)):
        answers.append(EngineDriver(executor).sampled(prompts, sampling))
    assert answers[0] == answers[1]
    assert all(len(answer) == 12 for answer in answers[0])


@pytest.mark.slow
def test_the_default_model_answers_as_it_does_in_numpy(default_model: Path) -> None:
    """Its weights stay quantised, the embedding too."""
    checkpoint = open_checkpoint(default_model)
    config = NativeConfig(context_len=64, num_slots=1, max_batch_tokens=64, max_logits=64)
    answer = [504, 3575, 282, 4649]  # The capital of France
    executors = load(checkpoint, config), load_on_cpu(checkpoint, config)
    prompt = [*CHAT_TOKENS, *answer]
    expected, got = (Drive(executor).step({0: prompt}, num_logits=len(answer) + 1)[0] for executor in executors)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-3)
    assert got.argmax(1).tolist()[:-1] == answer
    assert executors[1]._backend.weight_bytes < 1.3 * checkpoint.num_bytes  # type: ignore[attr-defined]
