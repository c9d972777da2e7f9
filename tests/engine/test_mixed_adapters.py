"""Answers with adapters, on the fake, which answers otherwise whenever it reads what another adapter has computed."""

import pytest

from publican.core.errors import Unsupported
from publican.core.events import Failed
from publican.core.executor import Cells, Pages
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.executors.fake import fake_info
from tests.engine.drive import GREEDY, Driver

MEMORIES = [Pages(16, 128), Pages(4, 512), Cells(2_048)]
CARD = "You are a pirate who keeps a ledger of every ship. " * 3


@pytest.fixture(params=MEMORIES, ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    return Driver(fake_info(request.param, num_adapters=2))


def alone(prompt: str, adapter: int, **rest) -> str:
    return Driver(fake_info(num_adapters=2)).ask(prompt, adapter=adapter, **rest).text()


def test_mixed_in_one_batch_is_as_alone(driver):
    asked = [(CARD + f"number {i}", i % 3 - 1) for i in range(8)]
    ids = [driver.submit(prompt, adapter=adapter) for prompt, adapter in asked]
    driver.run()
    assert [driver.answers[id].text() for id in ids] == [alone(*each) for each in asked]
    assert len({alone(CARD, adapter) for adapter in (-1, 0, 1)}) == 3


def test_the_same_prompt_is_computed_anew_for_another_adapter(driver):
    for adapter in (-1, 0, 1):
        before = driver.executor.num_tokens
        answer = driver.ask(CARD, adapter=adapter, max_tokens=1)
        assert driver.executor.num_tokens == before + len(CARD)
        assert answer.finished.usage.num_cached_tokens == 0
    again = driver.ask(CARD, adapter=1, max_tokens=4)
    assert again.finished.usage.num_cached_tokens == len(CARD) - 1
    assert again.text() == alone(CARD, 1, max_tokens=4)


def test_nobody_waits_for_the_prompt_of_another_adapter(driver):
    """Of two that begin alike the second waits and then shares; of another adapter it has nothing to wait for."""
    driver.submit(CARD + CARD + "a", adapter=0)
    driver.step()
    other = driver.submit(CARD + CARD + "b", adapter=1)
    same = driver.submit(CARD + CARD + "c", adapter=0)
    driver.step()
    assert {s.group.job.id for s in driver.engine.scheduler.waiting} == {same}
    driver.run()
    assert driver.answers[other].finished.usage.num_cached_tokens == 0
    assert driver.answers[same].finished.usage.num_cached_tokens >= 2 * len(CARD) - 1


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=0.0, seed=0, guidance_scale=2.0),
        SamplingParams(temperature=0.0, seed=0, num_beams=3),
        SamplingParams(temperature=0.0, seed=0, penalty_alpha=0.4, top_k=3),
    ],
    ids=["guidance", "beams", "contrastive"],
)
def test_what_is_followed_together_has_one_adapter(driver, sampling):
    rest = {"sampling": sampling, "negative": "a negative prompt" if sampling.guidance_scale != 1 else "", "max_tokens": 8}
    driver.submit(CARD, adapter=0)
    mixed = driver.ask(CARD, adapter=1, **rest).text()
    assert mixed == alone(CARD, 1, **rest)
    assert mixed != alone(CARD, 0, **rest)


def test_choices_and_guesses_have_it_too():
    repeated = "abcabcabcabcabc " * 4
    for max_guessing in (0, 8):
        driver = Driver(fake_info(num_adapters=1), max_guessing=max_guessing)
        id = driver.submit(repeated, adapter=0, wanted=Wanted(num_choices=3), max_tokens=30)
        driver.run()
        texts = {driver.answers[id].text(i) for i in range(3)}
        assert texts == {Driver(fake_info(num_adapters=1)).ask(repeated, adapter=0, max_tokens=30).text()}


@pytest.mark.parametrize("adapter", [-2, 2])
def test_an_adapter_that_is_not_there_is_refused(driver, adapter):
    answer = driver.ask("Hello", adapter=adapter, sampling=GREEDY)
    assert isinstance(answer.events[-1], Failed)
    assert isinstance(answer.events[-1].error, Unsupported)
