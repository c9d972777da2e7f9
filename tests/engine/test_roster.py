"""What breaks over one job fails that job alone, gives back what it held, and changes nobody else's answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.errors import EngineError, OutOfMemory
from publican.core.events import Failed
from publican.core.executor import Cells, Pages
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.engine.grammar.compiler import Compiler
from publican.engine.grammar.matcher import Matcher
from publican.engine.outbox import Outbox
from publican.engine.prepare import Preparer
from publican.engine.sampling.min_p import MinP
from publican.engine.sampling.pipeline import Pipeline
from publican.engine.sampling.pooling import Pool
from publican.engine.sampling.top_k import TopK
from publican.engine.scheduler import Scheduler
from publican.engine.search.beams import BeamSearch
from publican.engine.search.search import Tools
from publican.engine.text import TextStream
from publican.executors.fake import fake_info
from tests.engine.drive import Answer, Driver

MEMORIES = [Pages(4, 512), Cells(2_048)]
BAD_K = 13
OTHERS = SamplingParams(seed=5, temperature=0.9, mirostat_mode=2)


class Boom(Exception):
    """Nothing that anybody foresaw."""


@pytest.fixture(params=MEMORIES, ids=str)
def memory(request: pytest.FixtureRequest) -> Pages | Cells:
    return request.param


@contextmanager
def breaking(owner: Any, name: str, when: Callable[..., bool] = lambda *_: True, after: int = 0) -> Iterator[None]:
    """Calls of `owner.name` for which `when` holds raise, but for the first `after` of them."""
    whole, left = getattr(owner, name), after

    def broken(*args: Any, **rest: Any) -> Any:
        nonlocal left
        if when(*args):
            left -= 1
            if left < 0:
                raise Boom("injected")
        return whole(*args, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, broken)
        yield


def others(driver: Driver) -> dict[str, str]:
    """Three that nothing is wrong with, by their prompts."""
    prompts = ["one of the others", "another, who came earlier", "common start and a third"]
    return {driver.submit(p, OTHERS, max_tokens=30): p for p in prompts}


def assert_well(driver: Driver, asked: dict[str, str]) -> None:
    for id, prompt in asked.items():
        driver.answers[id].check()
        alone = Driver().ask(prompt, sampling=OTHERS, max_tokens=30)
        assert driver.answers[id].text() == alone.text()
    driver.engine.check()
    assert driver.engine.scheduler.cache.num_locked_tokens == 0
    assert not driver.engine._roster.groups


def assert_broke(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    answer.check()
    failed = answer.events[-1]
    assert isinstance(failed, Failed)
    assert type(failed.error) is EngineError
    assert str(failed.error).count(".") == 1
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)


def is_victim(sequence_text: TextStream, *_: Any) -> bool:
    return sequence_text._stop is not None


CASES: dict[str, tuple[Any, str, Callable[..., bool], int, dict[str, Any]]] = {
    "the check": (Preparer, "check", lambda _, job: job.sampling.top_k == BAD_K, 0, {}),
    "the second choice": (Preparer, "_text", lambda _, job, skip: job.sampling.top_k == BAD_K, 1, {"wanted": Wanted(3)}),
    "a sampler's column": (TopK, "add", lambda _, row, params, stack: params.top_k == BAD_K, 0, {}),
    "a sampler's column, of the second choice": (
        MinP,
        "add",
        lambda _, row, params, stack: params.top_k == BAD_K,
        1,
        {"wanted": Wanted(3)},
    ),
    "queueing the second choice": (
        Scheduler,
        "submit",
        lambda _, sequence: sequence.job.sampling.top_k == BAD_K,
        1,
        {"wanted": Wanted(3)},
    ),
    "detokenising": (TextStream, "push", is_victim, 3, {"strings": ("never comes",)}),
    "stop strings": (TextStream, "_released", is_victim, 0, {"strings": ("never comes",), "wanted": Wanted(2)}),
    "the end": (TextStream, "flush", is_victim, 0, {"strings": ("never comes",)}),
    "the end of a prompt that is only read": (TextStream, "flush", is_victim, 0, {"strings": ("x",), "max_tokens": 0}),
    "banned strings": (
        TextStream,
        "_num_banned",
        lambda *_: True,
        4,
        {"sampling": SamplingParams(seed=1, banned_strings=("never comes",))},
    ),
    "best_of": (
        Outbox,
        "_give_best",
        lambda *_: True,
        0,
        {"sampling": SamplingParams(seed=1, best_of=3)},
    ),
    "the prompt's log probabilities": (Pipeline, "logprobs", lambda *_: True, 0, {"wanted": Wanted(prompt_logprobs=1)}),
    "copying a grammar": (Matcher, "copy", lambda *_: True, 0, {"sampling": SamplingParams(seed=1, regex="[a-z]{30}")}),
    "following a grammar": (Matcher, "accept", lambda *_: True, 2, {"sampling": SamplingParams(seed=1, regex="[a-z]{30}")}),
    "a grammar's mask": (Matcher, "fill", lambda *_: True, 2, {"sampling": SamplingParams(seed=1, regex="[a-z]{30}")}),
    "guidance": (
        TextStream,
        "push",
        is_victim,
        2,
        {"sampling": SamplingParams(seed=1, guidance_scale=2.0), "negative": "no", "strings": ("never comes",)},
    ),
    "beams": (BeamSearch, "advance", lambda *_: True, 3, {"sampling": SamplingParams(seed=1, num_beams=3)}),
    "a beam that parts": (Tools, "branch", lambda *_: True, 1, {"sampling": SamplingParams(seed=1, num_beams=3)}),
    "a beam that is half there": (Scheduler, "fork", lambda *_: True, 1, {"sampling": SamplingParams(seed=1, num_beams=3)}),
    "contrastive search": (
        Tools,
        "drop",
        lambda *_: True,
        2,
        {"sampling": SamplingParams(seed=1, penalty_alpha=0.5, top_k=3)},
    ),
    "a vector": (Pool, "add", lambda *_: True, 0, {"pooling": "mean"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_breaks_over_one_job_fails_it_alone(case, memory, caplog):
    owner, name, when, after, asked = case
    driver = Driver(fake_info(memory))
    driver.ask("warm", max_tokens=2)
    fine = others(driver)
    driver.step()
    with breaking(owner, name, when, after):
        victim = driver.submit("common start of a victim", **({"sampling": SamplingParams(seed=1, top_k=BAD_K)} | asked))
        driver.run()
    assert_broke(driver.answers[victim], caplog)
    assert_well(driver, fine)
    assert driver.ask("and afterwards", max_tokens=5).finished


@pytest.mark.parametrize("max_guessing", [0, 8])
def test_where_sampling_breaks_the_culprit_is_found_and_nobody_else_notices(memory, caplog, max_guessing):
    driver = Driver(fake_info(memory), max_guessing=max_guessing)
    fine = others(driver)
    again = driver.submit("aaaa " * 8, max_tokens=40)
    driver.step()
    with breaking(TopK, "apply", lambda _, rows, batch, steps: any(s.params.top_k == BAD_K for s in batch.states), 3):
        victim = driver.submit("victim", SamplingParams(seed=1, top_k=BAD_K, tfs=0.9), negative="", max_tokens=30)
        driver.run()
    assert_broke(driver.answers[victim], caplog)
    assert_well(driver, fine)
    assert driver.answers[again].text() == Driver().ask("aaaa " * 8, max_tokens=40).text()


def test_where_nobody_can_be_sampled_the_engine_ends(caplog):
    """It is not over one request, and may be a device that is lost: whoever restarts engines is to know."""
    driver = Driver()
    others(driver)
    with breaking(Pipeline, "sample"), pytest.raises(Boom):
        driver.run()


def test_books_that_do_not_balance_end_the_engine(caplog):
    driver = Driver()
    driver.submit("victim", SamplingParams(seed=1, top_k=BAD_K))
    with breaking(TopK, "add"), breaking(Scheduler, "_leave"), pytest.raises(Boom):
        driver.run()


def test_a_compiler_that_takes_no_work_fails_whoever_brings_it(monkeypatch, caplog):
    driver = Driver()
    with breaking(Compiler, "compile_later"):
        victim = driver.submit("victim", SamplingParams(seed=1, regex="a"))
        driver.run()
    assert_broke(driver.answers[victim], caplog)
    assert not driver.engine.is_compiling


def test_an_abort_that_breaks_is_an_end_all_the_same(caplog):
    for keep in (True, False):
        driver = Driver()
        fine = others(driver)
        victim = driver.submit("victim", strings=("never comes",), max_tokens=100)
        for _ in range(3):
            driver.step()
        with breaking(TextStream, "flush", is_victim):
            driver.abort(victim, keep=keep)
            driver.run()
        if keep:
            assert_broke(driver.answers[victim], caplog)
        assert_well(driver, fine)


def test_beams_without_room_fail_together():
    """They are followed together, so the one that has no room takes the others with it, once each."""
    driver = Driver(fake_info(Pages(4, 12), context_len=64))
    victim = driver.submit("b" * 20, SamplingParams(seed=1, num_beams=6, length_penalty=0.0), max_tokens=40)
    driver.run()
    driver.answers[victim].check()
    failed = driver.answers[victim].events[-1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, OutOfMemory)
    assert driver.engine.scheduler.cache.num_locked_tokens == 0
    assert driver.ask("afterwards", max_tokens=3).finished


INJECTED = [
    (TextStream, "push"),
    (TextStream, "flush"),
    (TopK, "add"),
    (Outbox, "output"),
    (Outbox, "ended"),
    (Outbox, "started"),
    (Pipeline, "add"),
    (Pipeline, "fork"),
    (Pipeline, "logprobs"),
    (Scheduler, "submit"),
    (Tools, "branch"),
    (Tools, "follow_together"),
    (Tools, "room"),
    (Matcher, "accept"),
    (Matcher, "fill"),
    (Matcher, "forced"),
]
KINDS: list[dict[str, Any]] = [
    {},
    {"wanted": Wanted(3)},
    {"wanted": Wanted(prompt_logprobs=2)},
    {"negative": "no", "sampling": SamplingParams(seed=2, guidance_scale=1.5)},
    {"sampling": SamplingParams(seed=2, num_beams=3)},
    {"sampling": SamplingParams(seed=2, penalty_alpha=0.4, top_k=3)},
    {"sampling": SamplingParams(seed=2, best_of=3)},
    {"sampling": SamplingParams(seed=2, regex="[a-f]{3,12}")},
    {"sampling": SamplingParams(seed=2, banned_strings=("e", "t"))},
    {"max_tokens": 0},
]


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5),
    what=st.sampled_from(INJECTED),
    after=st.integers(0, 25),
    memory=st.sampled_from([Pages(4, 48), Pages(16, 24), Cells(260)]),
    max_guessing=st.sampled_from([0, 8]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_breaks_once_everybody_hears_of_an_end_and_all_is_given_back(kinds, what, after, memory, max_guessing):
    driver = Driver(fake_info(memory, context_len=100, num_slots=6), max_running=6, max_guessing=max_guessing, ends=True)
    num_broken = 0

    def once(*_: Any) -> bool:
        nonlocal num_broken
        num_broken += 1
        return num_broken == after + 1

    logging.disable(logging.CRITICAL)
    try:
        with breaking(*what, once):
            ids = [driver.submit("common start " * (i % 3) + str(i), **kind) for i, kind in enumerate(kinds)]
            driver.run()
    finally:
        logging.disable(logging.NOTSET)
    for id in ids:
        driver.answers[id].check()
    assert sum(isinstance(driver.answers[id].events[-1], Failed) for id in ids) <= 1
    assert driver.engine.scheduler.cache.num_locked_tokens == 0
    assert not driver.engine._pipeline._states
    assert not driver.engine._outbox._tries
