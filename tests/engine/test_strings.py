"""Banned strings with backtracking, and token healing."""

from dataclasses import replace

import pytest

from publican.core.executor import Cells, Pages
from publican.core.request import Wanted
from publican.core.sampling import SamplingParams
from publican.executors.fake import fake_info
from tests.engine.drive import Driver

MEMORIES = [Pages(16, 128), Pages(4, 512), Cells(2_048)]


def sampling(*banned: str, temperature: float = 0.0, **rest) -> SamplingParams:
    return SamplingParams(temperature=temperature, seed=1, banned_strings=banned, **rest)


@pytest.fixture(params=MEMORIES, ids=str)
def memory(request: pytest.FixtureRequest) -> Pages | Cells:
    return request.param


def test_a_banned_string_does_not_appear_and_the_rest_goes_on(memory):
    free = Driver(fake_info(memory)).ask("Once upon a time", max_tokens=60).text()
    banned = (free[5:8], free[20:22].upper(), free[40:44])
    answer = Driver(fake_info(memory)).ask("Once upon a time", sampling=sampling(*banned), max_tokens=60)
    text = answer.text().lower()
    assert not any(b.lower() in text for b in banned)
    assert answer.text()[:5] == free[:5]
    assert answer.finished.usage.num_completion_tokens == 60
    assert len(answer.tokens()) == 60


def test_it_takes_the_next_best_way(memory):
    """Where a string of one token is banned, the answer is the one with that token banned from that position on."""
    free = Driver(fake_info(memory)).ask("begin", max_tokens=30).text()
    letter = free[10]
    answer = Driver(fake_info(memory)).ask("begin", sampling=sampling(letter), max_tokens=30).text()
    masked = Driver(fake_info(memory)).ask(
        "begin", sampling=SamplingParams(temperature=0.0, seed=1, banned_tokens=(ord(letter),)), max_tokens=30
    )
    assert answer == masked.text()


def test_held_text_is_never_shown_and_taken_back():
    driver = Driver()
    free = Driver().ask("hold", max_tokens=40).text()
    id = driver.submit("hold", sampling=sampling(free[10:16]), max_tokens=40)
    shown = ""
    while driver.step():
        now = driver.answers[id].text()
        assert now.startswith(shown)
        shown = now
    assert free[10:16] not in shown


def test_with_samplers_that_remember(memory):
    params = sampling("e", "th", temperature=1.0, mirostat_mode=2, repetition_penalty=1.2, dry_multiplier=0.8)
    text = Driver(fake_info(memory)).ask("remember", sampling=params, max_tokens=80).text()
    assert "e" not in text.lower()
    assert "th" not in text.lower()


def test_there_may_be_no_way_around():
    """All letters banned: after so many tries the string is let pass instead of hanging."""
    everything = [chr(c) for c in range(32, 127)]
    params = SamplingParams(temperature=0.0, seed=1, banned_strings=tuple(everything), allowed_tokens=tuple(range(97, 100)))
    answer = Driver().ask("stuck", sampling=params, max_tokens=3)
    assert len(answer.text()) == 3


def test_several_choices_and_others_beside_it(memory):
    driver = Driver(fake_info(memory))
    id = driver.submit("many", sampling=sampling("a", "o", temperature=1.0), wanted=Wanted(num_choices=3), max_tokens=30)
    other = driver.submit("other", max_tokens=30)
    driver.run()
    assert all(not {"a", "o"} & set(driver.answers[id].text(i).lower()) for i in range(3))
    assert driver.answers[other].text() == Driver().ask("other", max_tokens=30).text()


def test_preemption_in_the_middle_of_it():
    driver = Driver(fake_info(Pages(4, 30), context_len=100))
    ids = [driver.submit(f"{i} prompt of tokens", sampling=sampling("e", "in"), max_tokens=50) for i in range(5)]
    driver.run()
    assert driver.engine.scheduler.num_preemptions > 0
    for i, id in enumerate(ids):
        assert (
            driver.answers[id].text()
            == Driver().ask(f"{i} prompt of tokens", sampling=sampling("e", "in"), max_tokens=50).text()
        )


def test_healing_begins_with_the_last_tokens_text():
    """With tokens of one byte, healing must give what was there: the answer is unchanged, and the prompt not repeated."""
    plain = Driver().ask("heal me", max_tokens=12)
    healed = Driver().ask("heal me", sampling=SamplingParams(temperature=0.0, seed=0, token_healing=True), max_tokens=12)
    assert healed.text() == plain.text()
    assert healed.finished.usage.num_completion_tokens == 12
    assert healed.finished.usage.num_prompt_tokens == len("heal me")


def test_healing_needs_something_to_heal():
    params = SamplingParams(temperature=0.0, seed=0, token_healing=True)
    assert Driver().ask("x", sampling=params, max_tokens=5).text() == Driver().ask("x", max_tokens=5).text()
    assert Driver().ask("xy", sampling=params, max_tokens=0).text() == ""
    assert Driver().ask("x ", sampling=replace(params, regex="[a-c]{3}x"), max_tokens=9).text()[3:] == "x"
