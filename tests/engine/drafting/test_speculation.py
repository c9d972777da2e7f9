"""Guesses change the time and nothing else: the same answers with and without, whatever is guessed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.executor import Cells, Pages
from publican.core.ids import TokenId
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.engine.drafting.ngram import NgramDrafter
from publican.engine.outbox import Outbox, Said
from publican.executors.fake import fake_info
from tests.engine.drive import GREEDY, Answer, Driver, bytes_of

MEMORIES = [Pages(4, 64), Pages(16, 24), Cells(300)]
SAMPLED = SamplingParams(temperature=1.0, repetition_penalty=1.2, seed=7)
PROMPTS = ["hello there", "hello you", "once upon a time in the west", "x"]


@contextmanager
def knowing(answers: dict[str, list[int]], how_often: float) -> Iterator[None]:
    """Drafters that know the answers, and now and then say something else."""
    chance = random.Random(0)

    def propose(self: NgramDrafter, tokens: list[TokenId], num_tokens: int) -> list[TokenId]:
        for prompt, answer in answers.items():
            whole = [*bytes_of(prompt), *answer]
            if tokens == whole[: len(tokens)]:
                guess = whole[len(tokens) : len(tokens) + num_tokens]
                return [TokenId(t) if chance.random() < how_often else TokenId(65) for t in guess]
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NgramDrafter, "propose", propose)
        yield


def answers_of(memory, sampling: SamplingParams, guessing: int, prompts=PROMPTS, **stopping) -> tuple[list[Answer], Driver]:
    driver = Driver(fake_info(memory), max_guessing=guessing)
    ids = [driver.submit(prompt, sampling, **stopping) for prompt in prompts]
    driver.run()
    for id in ids:
        driver.answers[id].check()
    return [driver.answers[id] for id in ids], driver


def test_what_is_done_between_two_samplings_of_a_step_is_no_sampling(monkeypatch):
    """Text and ends of the token before, where a guess came true."""
    num_said = 0

    def slow(self: Outbox, *args, **rest) -> Said:
        nonlocal num_said
        num_said += 1
        time.sleep(0.01)
        return say(self, *args, **rest)

    say = Outbox.say
    plain, _ = answers_of(MEMORIES[0], GREEDY, 0, PROMPTS[:1], max_tokens=20)
    monkeypatch.setattr(Outbox, "say", slow)
    with knowing({PROMPTS[0]: plain[0].tokens()}, 1.0):
        _, driver = answers_of(MEMORIES[0], GREEDY, 16, PROMPTS[:1], max_tokens=20)
    trace = driver.engine._recorder.trace
    assert num_said == 20 > len(trace)
    assert sum(step.commit_ms for step in trace) >= 10.0 * num_said


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("how_often", [0.0, 0.6, 1.0])
def test_the_same_tokens_in_fewer_steps(memory, sampling, how_often):
    plain, slow = answers_of(memory, sampling, 0, max_tokens=40)
    with knowing({p: a.tokens() for p, a in zip(PROMPTS, plain, strict=True)}, how_often):
        guessed, fast = answers_of(memory, sampling, 16, max_tokens=40)
        again, _ = answers_of(memory, sampling, 16, [*PROMPTS, *PROMPTS], max_tokens=40)
    assert [a.tokens() for a in guessed] == [a.tokens() for a in plain]
    assert [a.tokens() for a in again[:4]] == [a.tokens() for a in plain], "from the cache as well"
    assert [a.finished.usage.num_completion_tokens for a in guessed] == [40] * 4
    if how_often == 1.0:
        assert fast.executor.num_steps < slow.executor.num_steps / 2
        assert fast.engine.scheduler.num_true_tokens == fast.engine.scheduler.num_guessed_tokens > 0


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_an_end_among_the_guesses_is_the_end(memory):
    plain = answers_of(memory, GREEDY, 0, max_tokens=60)[0]
    text = plain[0].text()
    with knowing({p: a.tokens() for p, a in zip(PROMPTS, plain, strict=True)}, 1.0):
        for stop in (text[20:23], text[31], text[7:9]):
            without = answers_of(memory, GREEDY, 0, max_tokens=60, strings=(stop,))[0]
            with_guesses, driver = answers_of(memory, GREEDY, 16, max_tokens=60, strings=(stop,))
            assert [a.text() for a in with_guesses] == [a.text() for a in without]
            assert [a.tokens() for a in with_guesses] == [a.tokens() for a in without]
            assert not driver.engine.scheduler.running


def test_log_probabilities_are_the_same():
    sampling, wanted = SAMPLED, Wanted(logprobs=2)
    plain = Driver(fake_info(Pages(4, 64))).ask("hello there", sampling=sampling, wanted=wanted)
    with knowing({"hello there": plain.tokens()}, 0.8):
        guessed = Driver(fake_info(Pages(4, 64)), max_guessing=8).ask("hello there", sampling=sampling, wanted=wanted)
    seen = [[t for e in a.events for t in getattr(e, "tokens", ())] for a in (plain, guessed)]
    assert seen[0] == seen[1]


def test_the_context_is_never_exceeded():
    info = fake_info(Pages(4, 64), context_len=32)
    plain = Driver(info).ask("hello there", max_tokens=None)
    with knowing({"hello there": plain.tokens()}, 1.0):
        assert Driver(info, max_guessing=16).ask("hello there", max_tokens=None).tokens() == plain.tokens()


def test_many_answers_leave_no_room_for_guesses():
    plain, _ = answers_of(Pages(4, 64), GREEDY, 0)
    with knowing({p: a.tokens() for p, a in zip(PROMPTS, plain, strict=True)}, 1.0):
        _, driver = answers_of(Pages(4, 64), GREEDY, 4)
        assert driver.engine.scheduler.num_guessed_tokens == 0


@given(
    seed=st.integers(0, 1_000),
    how_often=st.floats(0, 1),
    memory=st.sampled_from([Pages(4, 24), Pages(16, 8), Cells(100)]),
    jobs=st.lists(st.tuples(st.text("ab", min_size=1, max_size=40), st.integers(1, 30)), min_size=1, max_size=6),
)
@settings(deadline=None, max_examples=60)
def test_whatever_comes_whoever_is_put_back(seed, how_often, memory, jobs):
    """Little memory: sequences are preempted with guesses under way."""
    sampling = SamplingParams(temperature=1.0, seed=seed)
    info = fake_info(memory, context_len=80)
    alone = [Driver(info).ask(prompt, sampling=sampling, max_tokens=n) for prompt, n in jobs]
    known = {prompt: answer.tokens() for (prompt, _), answer in zip(jobs, alone, strict=True)}
    with knowing(known, how_often):
        driver = Driver(info, max_guessing=12)
        ids = [driver.submit(prompt, sampling, max_tokens=n) for prompt, n in jobs]
        driver.run()
    assert [driver.answers[id].tokens() for id in ids] == [a.tokens() for a in alone]
