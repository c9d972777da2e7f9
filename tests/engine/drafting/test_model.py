"""A draft model beside the target: the same answers with and without, and a memory that follows whatever happens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.errors import EngineError, OutOfMemory
from publican.core.executor import Cells, ExecutorInfo, Pages, StepResult
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.core.step import StepPlan
from publican.engine.drafting.model import ModelDrafter
from publican.engine.drafting.worth import Worth
from publican.executors.fake import FakeExecutor, fake_info
from tests.engine.drive import GREEDY, Driver

MEMORIES = [Pages(4, 64), Pages(16, 24), Cells(300)]
SAMPLED = SamplingParams(temperature=1.0, repetition_penalty=1.2, seed=7)
CARRIED = SamplingParams(temperature=1.0, mirostat_mode=2, dry_multiplier=0.8, seed=11)
PROMPTS = ["hello there", "hello you", "once upon a time in the west", "x"]


class Stubborn(FakeExecutor):
    """Weights of its own: knows the same tokens, and says something else now and then (always, with 1)."""

    def __init__(self, info: ExecutorInfo | None = None, how_often: float = 1.0) -> None:
        super().__init__(info)
        self._how_often = how_often

    def _next(self, tokens):
        logits = super()._next(tokens)
        if random.Random(sum(tokens)).random() < self._how_often:
            logits = logits[::-1].copy() - 5.0
        return logits


@contextmanager
def guessing(depth: int) -> Iterator[None]:
    """Whatever it costs: how many guesses pay on this machine at this moment is not what these tests are about."""

    def depths(self, candidates, num_planned, num_free):
        wanted = []
        for one in candidates:
            wanted.append(min(depth, one.most, num_free))
            num_free -= wanted[-1]
        return wanted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worth, "depths", depths)
        yield


class Pair(Driver):
    """An engine with a draft beside it, whose books are checked after each step."""

    def __init__(self, info: ExecutorInfo, draft: FakeExecutor, max_guessing: int = 24, **rest) -> None:
        super().__init__(info, max_guessing=max_guessing, draft=draft, **rest)
        self.draft = draft
        self.drafter = self.engine._drafter
        assert isinstance(self.drafter, ModelDrafter)

    def step(self) -> bool:
        worked = super().step()
        self.drafter.check()
        return worked

    @property
    def counts(self) -> tuple[int, int]:
        return self.engine.scheduler.num_guessed_tokens, self.engine.scheduler.num_true_tokens


def answers(driver: Driver, sampling: SamplingParams, prompts=PROMPTS, **stopping) -> list[list[int]]:
    ids = [driver.submit(prompt, sampling, **stopping) for prompt in prompts]
    driver.run()
    for id in ids:
        driver.answers[id].check()
    return [driver.answers[id].tokens() for id in ids]


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
@pytest.mark.parametrize("draft_memory", [Pages(4, 64), Cells(300)], ids=str)
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED, CARRIED], ids=["greedy", "sampled", "carried"])
def test_a_draft_that_agrees_is_always_right(memory, draft_memory, sampling):
    plain = Driver(fake_info(memory))
    wanted = answers(plain, sampling, max_tokens=40)
    with guessing(4):
        pair = Pair(fake_info(memory), FakeExecutor(fake_info(draft_memory)))
        assert answers(pair, sampling, max_tokens=40) == wanted
        assert answers(pair, sampling, [*PROMPTS, *PROMPTS], max_tokens=40)[:4] == wanted, "from the caches as well"
    num_guessed, num_true = pair.counts
    assert num_true > 100
    if sampling is CARRIED:
        assert num_true > 0.9 * num_guessed, "the draft did not see what the first token made of mirostat's state"
    else:
        assert num_guessed == num_true, "at every temperature, for the random numbers are the same"
    assert pair.drafter._cache.num_locked_tokens == 0


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED, CARRIED], ids=["greedy", "sampled", "carried"])
@pytest.mark.parametrize("how_often", [1.0, 0.3])
def test_a_draft_that_disagrees_changes_nothing(memory, sampling, how_often):
    wanted = answers(Driver(fake_info(memory)), sampling, max_tokens=40)
    with guessing(3):
        pair = Pair(fake_info(memory), Stubborn(fake_info(memory), how_often))
        assert answers(pair, sampling, max_tokens=40) == wanted
    num_guessed, num_true = pair.counts
    assert num_guessed > 50
    assert num_true < (0.2 if how_often == 1.0 else 0.8) * num_guessed
    if how_often < 1.0:
        assert num_true > 0.3 * num_guessed, "it goes on where the target went"


def test_fewer_steps_of_the_target_and_one_of_the_draft_for_all():
    plain, draft = Driver(fake_info()), FakeExecutor()
    wanted = answers(plain, GREEDY, max_tokens=40)
    with guessing(4):
        pair = Pair(fake_info(), draft)
        assert answers(pair, GREEDY, max_tokens=40) == wanted
    assert pair.executor.num_steps < plain.executor.num_steps / 3
    assert draft.num_steps < 4 * pair.executor.num_steps, "a round gives every sequence a guess"


def test_log_probabilities_and_stops_are_the_same():
    wanted = Wanted(logprobs=2, num_choices=3)
    seen = []
    with guessing(5):
        for driver in (Driver(fake_info()), Pair(fake_info(), Stubborn(how_often=0.2))):
            text = driver.ask("hello there", max_tokens=60).text()
            for strings in ((text[20:23],), (text[31],)):
                answer = driver.ask("hello there", sampling=SAMPLED, wanted=wanted, max_tokens=60, strings=strings)
                own = [(e.index, t) for e in answer.events for t in getattr(e, "tokens", ())]
                seen.append(sorted(own, key=lambda said: said[0]))
                seen.append([driver.ask("hello there", max_tokens=60, strings=strings).text()])
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]


def test_the_context_is_never_exceeded():
    info = fake_info(Pages(4, 64), context_len=32)
    plain = Driver(info).ask("hello there", max_tokens=None).tokens()
    with guessing(8):
        assert Pair(info, FakeExecutor(info)).ask("hello there", max_tokens=None).tokens() == plain
        shorter = Pair(info, FakeExecutor(fake_info(Pages(4, 64), context_len=20)))
        assert shorter.ask("hello there", max_tokens=None).tokens() == plain, "the draft's own context ends before"
        assert 0 < shorter.counts[0] < 20


def test_tokens_that_the_draft_does_not_have():
    draft = FakeExecutor(replace(fake_info(), vocab_size=258))
    draft._next = lambda tokens: FakeExecutor._next(FakeExecutor(), tokens)[:258]
    with guessing(4):
        wider = Pair(fake_info(), draft)
        plain = Driver(fake_info()).ask("hello there", max_tokens=40).tokens()
        assert wider.ask("hello there", max_tokens=40).tokens() == plain
        assert wider.counts[0] == wider.counts[1] > 20
        assert answers(wider, SAMPLED, max_tokens=9) == answers(Driver(fake_info()), SAMPLED, max_tokens=9)


def test_a_wider_draft_is_cut():
    draft = FakeExecutor(replace(fake_info(), vocab_size=300))

    def wider(tokens):
        return np.concatenate([FakeExecutor._next(FakeExecutor(), tokens), np.full(40, 50.0)])

    draft._next = wider
    with guessing(4):
        pair = Pair(fake_info(), draft)
        for sampling in (GREEDY, SAMPLED):
            plain = Driver(fake_info()).ask("hello there", sampling=sampling, max_tokens=40).tokens()
            assert pair.ask("hello there", sampling=sampling, max_tokens=40).tokens() == plain
    assert pair.counts[0] == pair.counts[1] > 40


def test_a_prompt_is_read_once_for_all_who_share_it():
    prompt = "a long character card that everybody here has in common, word for word, and nobody reads twice. "
    with guessing(2):
        pair = Pair(fake_info(Pages(8, 128)), FakeExecutor(fake_info(Pages(8, 128))))
        pair.ask(prompt + "one", max_tokens=8)
        first = pair.draft.num_tokens
        pair.ask(prompt + "two", max_tokens=8)
        assert pair.draft.num_tokens - first < 40
    assert first > len(prompt)


def test_a_long_prompt_is_read_in_parts():
    sizes: list[int] = []

    class Noting(FakeExecutor):
        def execute(self, plan: StepPlan) -> StepResult:
            sizes.append(plan.num_tokens)
            return super().execute(plan)

    info = fake_info(Pages(16, 128))
    with guessing(4):
        pair = Pair(info, Noting(info))
        answer = pair.ask("word " * 60, max_tokens=60)
    assert answer.tokens() == Driver(info).ask("word " * 60, max_tokens=60).tokens()
    assert max(sizes) <= info.max_batch_tokens
    assert pair.counts[0] == pair.counts[1] > 10


@pytest.mark.parametrize("error", [OutOfMemory, EngineError])
def test_a_draft_that_fails_costs_the_guesses_and_nothing_else(error):
    class Failing(FakeExecutor):
        def execute(self, plan: StepPlan) -> StepResult:
            if self.num_steps in (5, 9):
                self.num_steps += 1
                self._memory.apply(StepPlan((), plan.ops))
                raise error("no more")
            return super().execute(plan)

    wanted = answers(Driver(fake_info()), SAMPLED, max_tokens=40)
    draft = Failing(fake_info())
    with guessing(3):
        pair = Pair(fake_info(), draft)
        assert answers(pair, SAMPLED, max_tokens=40) == wanted
    assert draft.closed == (error is EngineError)


def test_a_draft_that_nobody_needs_is_closed():
    for driver in (Driver(draft=FakeExecutor()), Driver(max_guessing=8, draft=FakeExecutor(fake_info(Cells(100, False))))):
        assert not isinstance(driver.engine._drafter, ModelDrafter)
    draft = FakeExecutor()
    Driver(fake_info(Cells(300, False)), max_guessing=8, draft=draft)
    assert draft.closed


class Clock:
    """Time that passes only while an executor computes."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def slow(self, executor: FakeExecutor, step_s: float, token_s: float = 0.0) -> None:
        execute = executor.execute

        def timed(plan: StepPlan) -> StepResult:
            self.now_s += step_s + token_s * plan.num_tokens
            return execute(plan)

        executor.execute = timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    fake = SimpleNamespace(perf_counter=clock, time=clock)
    for module in ("publican.engine.drafting.model", "publican.engine.stats"):
        monkeypatch.setattr(f"{module}.time", fake)
    return clock


def ask_in_turn(pair: Pair, num_prompts: int = 4, num_tokens: int = 100) -> float:
    """How many tokens a step gave."""
    for i in range(num_prompts):
        pair.ask(f"hello there {i}", max_tokens=num_tokens)
    return num_prompts * num_tokens / pair.executor.num_steps


def test_where_it_pays_it_guesses(clock: Clock):
    pair = Pair(fake_info(), FakeExecutor())
    clock.slow(pair.executor, 0.010, 0.0003)
    clock.slow(pair.draft, 0.001)
    assert ask_in_turn(pair) > 4


def test_a_draft_that_is_too_slow_is_left_alone(clock: Clock):
    pair = Pair(fake_info(), FakeExecutor())
    clock.slow(pair.executor, 0.010, 0.0003)
    clock.slow(pair.draft, 0.0103)
    assert ask_in_turn(pair) < 1.1
    alone = clock.now_s - 0.0103 * pair.draft.num_steps
    assert clock.now_s < 1.05 * alone, "what it costs to find out"


def test_a_draft_that_is_wrong_is_left_alone(clock: Clock):
    pair = Pair(fake_info(), Stubborn())
    clock.slow(pair.executor, 0.010, 0.001)
    clock.slow(pair.draft, 0.001)
    assert ask_in_turn(pair, 12) < 1.15
    assert pair.counts[0] < 0.1 * 1200
    assert clock.now_s < 1.06 * 1200 * 0.011


def test_a_crowd_that_fills_the_target_has_no_use_for_guesses(clock: Clock):
    pair = Pair(fake_info(num_slots=16), FakeExecutor(), max_running=16)
    clock.slow(pair.executor, 0.002, 0.002)
    clock.slow(pair.draft, 0.004)
    answers(pair, GREEDY, [f"prompt {i}" for i in range(12)], max_tokens=60)
    assert pair.counts[0] < 0.1 * 12 * 60


def test_what_pays_again_is_found_again(clock: Clock):
    pair = Pair(fake_info(), Stubborn(how_often=1.0))
    clock.slow(pair.executor, 0.010, 0.0003)
    clock.slow(pair.draft, 0.001)
    ask_in_turn(pair)
    before = pair.executor.num_steps
    pair.draft._how_often = 0.0
    for i in range(40):
        pair.ask(f"hello you {i}", max_tokens=60)
    assert 40 * 60 / (pair.executor.num_steps - before) > 2


@given(
    seed=st.integers(0, 1_000),
    how_often=st.floats(0, 1),
    depth=st.integers(0, 8),
    memory=st.sampled_from([Pages(4, 24), Pages(16, 8), Cells(100)]),
    draft_memory=st.sampled_from([Pages(4, 24), Pages(4, 12), Pages(16, 8), Cells(100)]),
    num_slots=st.sampled_from([2, 8]),
    jobs=st.lists(
        st.tuples(st.text("ab", min_size=1, max_size=40), st.integers(1, 30), st.integers(0, 9)), min_size=1, max_size=6
    ),
    aborted=st.sets(st.integers(0, 5)),
)
@settings(deadline=None, max_examples=80)
def test_whoever_comes_and_goes(seed, how_often, depth, memory, draft_memory, num_slots, jobs, aborted):
    """Little memory on both sides: sequences are put back with guesses under way, others join, leave or are aborted."""
    sampling = SamplingParams(temperature=1.0, seed=seed)
    info = fake_info(memory, context_len=80)
    alone = [Driver(info).ask(prompt, sampling=sampling, max_tokens=n).tokens() for prompt, n, _ in jobs]
    with guessing(depth):
        pair = Pair(info, Stubborn(fake_info(draft_memory, context_len=48, num_slots=num_slots), how_often), max_guessing=12)
        ids = []
        for prompt, num_tokens, wait in jobs:
            ids.append(pair.submit(prompt, sampling, max_tokens=num_tokens))
            for _ in range(wait):
                pair.step()
        for i in aborted & set(range(len(jobs))):
            pair.abort(ids[i], keep=True)
        pair.run()
    for i, (id, whole) in enumerate(zip(ids, alone, strict=True)):
        said = pair.answers[id].tokens()
        assert said == (whole[: len(said)] if i in aborted else whole)
    assert pair.drafter._cache.num_locked_tokens == 0
    assert not pair.drafter._followers
