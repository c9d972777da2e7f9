"""Texts that become vectors, beside answers: on the fake, whose hidden states a test can compute by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from publican.core.errors import PromptTooLong, Unsupported
from publican.core.events import Embedded, Failed
from publican.core.executor import Cells, Pages
from publican.engine.budget import BudgetConfig
from publican.engine.sampling.pooling import Pool
from publican.executors.fake import HIDDEN_SIZE, _digest, fake_info
from tests.engine.drive import Answer, Driver, bytes_of

MEMORIES = [Pages(16, 256), Pages(4, 512), Pages(4, 512, 8, 128), Cells(4_096)]
TEXT = "a text that is long enough for several pages and steps, if a step is made small"


@pytest.fixture(params=MEMORIES, ids=str)
def memory(request: pytest.FixtureRequest) -> Pages | Cells:
    return request.param


def states_of(text: str) -> np.ndarray:
    tokens = bytes_of(text)
    return np.array(
        [np.random.default_rng(_digest(list(tokens[: i + 1]))).standard_normal(HIDDEN_SIZE) for i in range(len(tokens))],
        np.float32,
    )


def vector_of(answer: Answer) -> tuple[float, ...]:
    assert isinstance(answer.events[0], Embedded)
    return answer.events[0].vector


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean", lambda s: s.mean(0)), ("cls", lambda s: s[0]), ("last", lambda s: s[-1])]
)
def test_a_vector(memory, pooling, expected):
    driver = Driver(fake_info(memory), budget=BudgetConfig(max_tokens=16))
    answer = driver.ask(TEXT, pooling=pooling)
    assert np.allclose(vector_of(answer), expected(states_of(TEXT)), atol=1e-6)
    assert answer.finished.usage.num_prompt_tokens == len(TEXT)
    assert answer.finished.usage.num_completion_tokens == 0


def test_what_runs_beside_it_says_the_same(memory):
    alone = Driver(fake_info(memory)).ask("tell me", max_tokens=30)
    driver = Driver(fake_info(memory), budget=BudgetConfig(max_tokens=16))
    chat = driver.submit("tell me", max_tokens=30)
    driver.step()
    texts = [driver.submit(f"{i} {TEXT}", pooling="mean") for i in range(12)]  # more than run at once
    driver.run()
    assert driver.answers[chat].tokens() == alone.tokens()
    for i, id in enumerate(texts):
        assert np.allclose(vector_of(driver.answers[id]), states_of(f"{i} {TEXT}").mean(0), atol=1e-6)


def test_the_cache_is_neither_used_nor_filled(memory):
    driver = Driver(fake_info(memory))
    driver.ask(TEXT, max_tokens=2)
    cache = driver.engine.scheduler.cache
    before = cache.match(list(bytes_of(TEXT)))
    assert before > 0
    other = TEXT[::-1]
    assert driver.ask(TEXT, pooling="mean").finished.usage.num_cached_tokens == 0
    driver.ask(other, pooling="mean")
    assert cache.match(list(bytes_of(TEXT))) == before
    assert cache.match(list(bytes_of(other))) == 0
    assert cache.num_locked_tokens == 0


def test_a_text_that_is_put_back_begins_again():
    """Memory for little more than one of the two: the newer one, the text, is put back while the answer grows."""
    driver = Driver(fake_info(Pages(4, 32), context_len=128, max_batch_tokens=8), budget=BudgetConfig(max_tokens=8))
    chat = driver.submit("x" * 40, max_tokens=60)
    text = driver.submit("y" * 56, pooling="mean")
    driver.run()
    assert len(driver.answers[chat].tokens()) == 60
    assert np.allclose(vector_of(driver.answers[text]), states_of("y" * 56).mean(0), atol=1e-6)


def test_a_text_far_longer_than_the_window_beside_an_answer():
    """What lies behind the window is given back while a text is read, though nobody may begin with it."""
    driver = Driver(fake_info(Pages(16, 128, 64, 64), context_len=512, max_batch_tokens=64))
    chat = driver.submit("hello", max_tokens=20)
    text = driver.submit("x" * 300, pooling="mean")
    driver.run()
    assert len(driver.answers[chat].tokens()) == 20
    assert np.allclose(vector_of(driver.answers[text]), states_of("x" * 300).mean(0), atol=1e-6)


def test_a_vector_needs_no_tokens_of_an_answer():
    assert vector_of(Driver(fake_info(Pages(16, 128))).ask(TEXT, pooling="mean", max_tokens=0))


@pytest.mark.parametrize("keep", [True, False])
def test_an_abort(memory, keep):
    driver = Driver(fake_info(memory), budget=BudgetConfig(max_tokens=16))
    id = driver.submit(TEXT, pooling="mean")
    driver.step()
    driver.abort(id, keep)
    driver.run()
    assert [type(event) for event in driver.answers[id].events] == ([Failed] if keep else [])
    assert driver.engine.scheduler.cache.num_locked_tokens == 0


def test_a_full_context_is_a_text_and_one_more_token_is_not():
    info = fake_info(context_len=64)
    assert vector_of(Driver(info).ask("z" * 64, pooling="mean"))
    (failed,) = Driver(info).ask("z" * 65, pooling="mean").events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, PromptTooLong)


def test_an_encoder_reads_whole_texts_and_writes_nothing():
    info = fake_info(Cells(512), is_encoder=True, context_len=64, max_batch_tokens=64)
    driver = Driver(info, budget=BudgetConfig(max_tokens=16, min_tokens=4))
    texts = ["short", "q" * 64, "some more words to read at once", "r" * 40]
    ids = [driver.submit(text, pooling="mean") for text in texts]
    driver.run()
    for text, id in zip(texts, ids, strict=True):
        assert np.allclose(vector_of(driver.answers[id]), states_of(text).mean(0), atol=1e-6)
    (failed,) = driver.ask("go on").events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Unsupported)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_a_pool_takes_any_arrays(make):
    states = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    pool = Pool("mean")
    pool.add(make(states))
    pool.forget()
    for piece in np.array_split(states, 3):
        pool.add(make(piece.copy()))
    assert np.allclose(pool.vector(), states.mean(0), atol=1e-6)
    pool.add(make(np.full((1, 5), np.nan, np.float32)))
    assert pool.vector() is None
