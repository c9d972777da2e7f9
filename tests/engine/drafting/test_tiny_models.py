"""A draft beside its target on real arithmetic: tiny random models, with the same weights and with others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from publican.core.executor import Executor
from publican.core.ids import RequestId, TokenId
from publican.core.request import Stopping
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.drafting.model import ModelDrafter
from publican.engine.engine import Engine
from publican.engine.job import Job, Report, Submit
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu.library import LibraryMissing
from publican.executors.native.loading import load
from publican.store.checkpoint import open_checkpoint
from tests.engine.drafting.test_model import guessing
from tests.engine.drive import GREEDY, Answer
from tests.executors.native import tiny

VOCABULARY = Vocabulary(tuple(f"{i:03d}".encode() for i in range(tiny.VOCAB)))
SEEDED = SamplingParams(temperature=0.9, top_k=40, repetition_penalty=1.1, seed=5)
JOBS = [([1, 2, 3, 4, 5], 70, ()), ([9, 8, 7], 60, ("05",)), ([1, 2, 3, 4, 6, 7], 70, ()), ([100], 60, ("0990",))]
"""A prompt, how many tokens, and where to stop."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of one shape and vocabulary."""
    return [tiny.save(tiny.make("Llama", seed), tmp_path_factory.mktemp(f"weights-{seed}")) for seed in (0, 1)]


@pytest.fixture(params=["plain", "cpu"])
def make(request: pytest.FixtureRequest) -> Callable[[Path, int], Executor]:
    def load_tiny(folder: Path, num_pages: int) -> Executor:
        config = NativeConfig(request.param, 96, num_slots=8, num_pages=num_pages, max_logits=64, num_threads=1)
        try:
            return load(open_checkpoint(folder), config)
        except LibraryMissing:
            pytest.skip("the C++ library is not built here")

    return load_tiny


class Talk:
    """Jobs that join one after another, on an engine without a thread."""

    def __init__(self, target: Executor, draft: Executor | None) -> None:
        self.answers: dict[RequestId, Answer] = defaultdict(Answer)
        self.engine = Engine(target, VOCABULARY, self._emit, 8, max_guessing=16 if draft is not None else 0, draft=draft)

    def _emit(self, report: Report) -> None:
        for id, event in report.events:
            self.answers[id].events.append(event)

    def tokens(self, sampling: SamplingParams) -> list[list[int]]:
        ids = [RequestId(f"{len(self.answers)}-{i}") for i in range(len(JOBS))]
        for id, (tokens, num_tokens, strings) in zip(ids, JOBS, strict=True):
            stopping = Stopping(max_tokens=num_tokens, strings=strings)
            self.engine.inbox.put(Submit(Job(id, tuple(map(TokenId, tokens)), sampling, stopping)))
            for _ in range(3):
                self._step()
        while self._step():
            pass
        for id in ids:
            self.answers[id].check()
        return [self.answers[id].tokens() for id in ids]

    def _step(self) -> bool:
        self.engine.handle_commands(wait=False)
        worked = self.engine.step()
        self.engine.scheduler.check()
        if isinstance(self.engine._drafter, ModelDrafter):
            self.engine._drafter.check()
        return worked

    def close(self) -> None:
        self.engine.executor.close()
        if self.engine._drafter is not None:
            self.engine._drafter.close()


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize("num_pages", [32, 9], ids=["room", "no room"])
def test_the_same_text_with_every_draft(make, folders, sampling, num_pages):
    alone = Talk(make(folders[0], num_pages), None)
    wanted = alone.tokens(sampling)
    assert (alone.engine.scheduler.num_preemptions > 0) == (num_pages == 9)
    alone.close()
    for draft, is_same in ((folders[0], True), (folders[1], False)):
        with guessing(4):
            talk = Talk(make(folders[0], num_pages), make(draft, num_pages))
            assert talk.tokens(sampling) == wanted
        scheduler = talk.engine.scheduler
        assert scheduler.num_guessed_tokens > 20
        if is_same:
            assert scheduler.num_true_tokens == scheduler.num_guessed_tokens
        else:
            assert scheduler.num_true_tokens < 0.5 * scheduler.num_guessed_tokens
        talk.close()
