"""CFG: a second sequence beside the first, computed in the same step, with a cached prefix of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publican.core.executor import Cells, Pages
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.executors.fake import FakeExecutor, fake_info
from tests.engine.drive import Driver, bytes_of

MEMORIES = [Pages(16, 128), Pages(4, 512), Cells(2_048)]


def guided(scale: float, **rest) -> SamplingParams:
    return SamplingParams(temperature=0.0, seed=0, guidance_scale=scale, **rest)


@pytest.fixture(params=MEMORIES, ids=str)
def memory(request: pytest.FixtureRequest) -> Pages | Cells:
    return request.param


def by_hand(prompt: str, negative: str, scale: float, num_tokens: int) -> list[int]:
    """The same from the fake's logits, one token at a time: u + s · (c - u) of log-softmaxes."""
    fake = FakeExecutor(fake_info())
    tokens, other, out = list(bytes_of(prompt)), list(bytes_of(negative)), []
    for _ in range(num_tokens):
        c, u = (np.asarray(fake._next(held), np.float64) for held in (tokens, other))
        c, u = (x - x.max() - np.log(np.exp(x - x.max()).sum()) for x in (c, u))
        token = int(np.argmax(u + scale * (c - u)))
        out.append(token)
        tokens.append(token)
        other.append(token)
    return out


@pytest.mark.parametrize(("prompt", "negative"), [("a prompt", "x"), ("p", "a long negative prompt " * 8), ("same", "same")])
def test_guidance_is_guidance(memory, prompt, negative):
    answer = Driver(fake_info(memory)).ask(prompt, sampling=guided(2.5), negative=negative, max_tokens=12)
    assert answer.tokens() == by_hand(prompt, negative, 2.5, 12)
    assert answer.finished.usage.num_completion_tokens == 12


def test_it_runs_beside_others_and_they_do_not_notice(memory):
    driver = Driver(fake_info(memory))
    ids = [driver.submit("one", sampling=guided(3.0), negative="no " * 40, max_tokens=10), driver.submit("two", max_tokens=10)]
    driver.run()
    assert driver.answers[ids[0]].tokens() == by_hand("one", "no " * 40, 3.0, 10)
    assert driver.answers[ids[1]].text() == Driver().ask("two", max_tokens=10).text()
    assert driver.engine.scheduler.cache.num_locked_tokens == 0


def test_the_negative_prompt_is_cached_too(memory):
    driver = Driver(fake_info(memory))
    negative = "what the answer should not be like " * 3
    driver.ask("first", sampling=guided(2.0), negative=negative)
    before = driver.executor.num_tokens
    driver.ask("other", sampling=guided(2.0), negative=negative, max_tokens=1)
    assert driver.executor.num_tokens - before <= len("other") + 17


def test_preemption_keeps_pairs_together():
    driver = Driver(fake_info(Pages(4, 30), context_len=100, num_slots=8))
    ids = [driver.submit(f"{i} prompt", sampling=guided(2.0), negative=f"negative {i}", max_tokens=40) for i in range(3)]
    driver.run()
    assert driver.engine.scheduler.num_preemptions > 0
    for i, id in enumerate(ids):
        assert driver.answers[id].tokens() == by_hand(f"{i} prompt", f"negative {i}", 2.0, 40)


def test_a_pair_that_finds_itself_in_the_cache_goes_on_at_once():
    """Put back by the other pair's last tokens, it comes again with nothing pending but the tokens computed together."""
    driver = Driver(fake_info(Pages(4, 33), context_len=90, num_slots=6, max_batch_tokens=20), max_running=5)
    jobs = [("0" * 16, "n" * 16, 14), ("1" * 15, "n" * 35, 11)]
    ids = []
    for text, negative, max_tokens in jobs:
        ids.append(driver.submit(text, sampling=guided(2.0), negative=negative, max_tokens=max_tokens))
        driver.step()
    driver.run()
    for id, (text, negative, max_tokens) in zip(ids, jobs, strict=True):
        assert driver.answers[id].tokens() == by_hand(text, negative, 2.0, max_tokens)


def test_several_choices_each_have_their_own():
    answer = Driver().ask(
        "choices", sampling=SamplingParams(seed=3, guidance_scale=1.5), negative="no", wanted=Wanted(num_choices=3)
    )
    assert len({answer.text(i) for i in range(3)}) > 1


def test_an_abort_takes_both():
    driver = Driver()
    id = driver.submit("gone", sampling=guided(2.0), negative="no", max_tokens=100)
    for _ in range(4):
        driver.step()
    driver.abort(id)
    driver.run()
    assert driver.engine.scheduler.cache.num_locked_tokens == 0
    assert not driver.engine.scheduler.running


@given(
    jobs=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=6),
    pages=st.integers(30, 60),  # the longest pair needs all of 30
)
@settings(deadline=None, max_examples=40)
def test_whatever_runs_beside_it(jobs, pages):
    driver = Driver(fake_info(Pages(4, pages), context_len=90, num_slots=6, max_batch_tokens=20), max_running=5)
    ids = []
    for i, (length, negative, max_tokens) in enumerate(jobs):
        text = (f"{i}" + "common beginning " * 3)[:length]
        ids.append(
            driver.submit(text, sampling=guided(2.0 if negative else 1.0), negative="n" * negative, max_tokens=max_tokens)
        )
        driver.step()
    driver.run()
    for i, (id, (length, negative, max_tokens)) in enumerate(zip(ids, jobs, strict=True)):
        text = (f"{i}" + "common beginning " * 3)[:length]
        expected = by_hand(text, "n" * negative, 2.0, max_tokens) if negative else None
        if expected is not None:
            assert driver.answers[id].tokens() == expected
        driver.answers[id].check()


def test_a_prompt_that_is_only_read_may_have_a_negative_one(memory):
    """Its shadow has no answer to end: ending one took the whole engine down."""
    driver = Driver(fake_info(memory))
    beside = driver.submit("two", max_tokens=10)
    read = driver.ask("a prompt", sampling=guided(2.0), negative="no", wanted=Wanted(prompt_logprobs=0), max_tokens=0)
    assert len(read.events[0].prompt) == len("a prompt")
    assert driver.answers[beside].text() == Driver().ask("two", max_tokens=10).text()
