"""Windowed pages: given back while a sequence runs, matched where the window is whole, and the books balance whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from publican.core.errors import OutOfMemory
from publican.core.events import Failed
from publican.core.executor import Pages
from publican.core.sampling import SamplingParams
from publican.core.step import NO_PAGE, Row, StepPlan
from publican.engine.memory.pages import PageCache
from publican.engine.memory.windows import Windows
from publican.executors.fake import FakeExecutor, fake_info
from tests.engine.drive import GREEDY, Driver
from tests.engine.memory.machine import CacheMachine

PAGE_LEN, WINDOW = 4, 6


def cache_of(num_windowed: int, num_pages: int = 64, chunk_len: int = 8) -> PageCache:
    return PageCache(PAGE_LEN, num_pages, num_slots=4, windows=Windows(num_windowed, WINDOW, chunk_len, slack_len=4))


def computed(cache: PageCache, tokens: list[int], chunk_len: int = 8) -> int:
    """Lock, and reserve and insert `tokens` in chunks; returns the slot."""
    lease = cache.lock(tokens)
    assert lease is not None
    for start in range(lease.num_cached, len(tokens), chunk_len):
        end = min(start + chunk_len, len(tokens))
        assert cache.reserve(lease.slot, end)
        cache.insert(lease.slot, tokens, end)
        cache.check()
    return lease.slot


def test_a_long_sequence_needs_no_more_than_its_window():
    cache = cache_of(num_windowed=7)
    slot = computed(cache, list(range(200)))
    assert cache._windows is not None
    assert cache._windows.num_locked_pages <= 4  # a window, slack, and pages begun at both ends
    assert len(cache._tables[slot].windowed) == 50
    assert cache._tables[slot].windowed[:47] == [NO_PAGE] * 47


def test_what_was_given_back_can_be_matched_while_there_is_room():
    cache = cache_of(num_windowed=64)
    tokens = list(range(100))
    cache.unlock(computed(cache, tokens))
    assert cache.match([*tokens[:30], 1]) == 30
    assert cache.match([*tokens, 1]) == 100


def test_a_beginning_whose_window_has_gone_is_not_matched():
    cache = cache_of(num_windowed=8)
    tokens = list(range(100))
    cache.unlock(computed(cache, tokens))
    assert cache.match([*tokens[:30], 1]) == 0  # the other pages are still there, these are not
    assert cache.match([*tokens, 1]) == 100
    lease = cache.lock([*tokens, 1])
    assert lease is not None
    assert lease.num_cached == 100
    cache.check()


def test_part_of_the_window_is_not_enough():
    cache = cache_of(num_windowed=32)
    tokens = list(range(40))
    cache.unlock(computed(cache, tokens))
    assert cache._windows is not None
    cache._windows.evict(5 * PAGE_LEN)  # the first five that were given back
    assert cache.match([*tokens[:20], 99]) == 0
    assert cache.match([*tokens[:24], 99]) == 0  # position 24 looks back at 19
    assert cache.match([*tokens[:28], 99]) == 28
    cache.check()


def test_going_back_further_than_the_slack_begins_anew():
    cache = cache_of(num_windowed=32)
    slot = computed(cache, list(range(60)))
    assert cache.truncate(slot, 58) == 56
    assert cache.truncate(slot, 30) == 0
    cache.check()
    assert cache.reserve(slot, 8)


def test_pages_shared_by_two_are_kept_until_both_have_passed():
    cache = cache_of(num_windowed=32)
    shared = list(range(20))
    first = computed(cache, [*shared, 50])
    second = computed(cache, [*shared, 51])
    assert cache._tables[first].windowed[4] == cache._tables[second].windowed[4]
    cache.reserve(first, 60)
    tokens = [*shared, *range(100, 120)]
    cache.truncate(first, 20)
    for end in (28, 36, 40):
        assert cache.reserve(first, end)
        cache.insert(first, tokens, end)
        cache.check()
    assert cache._tables[first].windowed[4] == NO_PAGE
    assert cache._tables[second].windowed[4] != NO_PAGE


class WindowMachine(CacheMachine):
    """Random slots come, grow, are cut and go, on a fake executor that holds both kinds of pages against one another."""

    def __init__(self) -> None:
        super().__init__(PageCache(PAGE_LEN, 30, 4, Windows(11, WINDOW, 8, slack_len=4)))
        memory = Pages(PAGE_LEN, 30, WINDOW, 11)
        info = fake_info(memory, context_len=40, num_slots=4, max_batch_tokens=8)
        self.executor = FakeExecutor(info)
        self.num_computed: dict[int, int] = {}

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=36), reuse=st.booleans())
    def come(self, tokens: list[int], reuse: bool) -> None:
        expected = self.cache.match(tokens) if reuse else 0
        lease = self.cache.lock(tokens, reuse)
        if lease is None:
            assert len(self.held) == 4
            return
        assert lease.num_cached <= expected
        if not self.cache.reserve(lease.slot, len(tokens)):
            self.cache.unlock(lease.slot)
            return
        self.held[lease.slot], self.num_computed[lease.slot] = tokens, lease.num_cached

    @precondition(lambda self: self.held)
    @rule(data=st.data(), count=st.integers(1, 8))
    def compute(self, data: st.DataObject, count: int) -> None:
        slot = data.draw(st.sampled_from(sorted(self.held)))
        tokens, start = self.held[slot], self.num_computed[slot]
        if start == len(tokens) and len(tokens) < 40:
            tokens.append(count % 2)
        end = min(start + count, len(tokens))
        if end > start and self.cache.reserve(slot, end):
            self.executor.execute(StepPlan((Row(slot, tokens[start:end], start, 0),), self.cache.drain()))
            self.cache.insert(slot, tokens, end)
            self.num_computed[slot] = end

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.held)))
        wanted = data.draw(st.integers(0, self.num_computed[slot]))
        kept = self.cache.truncate(slot, wanted)
        assert kept <= wanted
        assert kept == 0 or wanted - PAGE_LEN < kept
        self.num_computed[slot] = kept

    @invariant()
    def the_executor_can_follow(self) -> None:
        self.executor.execute(StepPlan((), self.cache.drain()))


WindowMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestWindowMachine = WindowMachine.TestCase

PROMPTS = ["hello there", "hello there, you", "the quick brown fox jumps over the lazy dog and comes back again", "x"]


@settings(max_examples=25, deadline=None)
@given(
    order=st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=7),
    num_windowed=st.integers(20, 40),
    max_tokens=st.integers(1, 40),
)
def test_windows_change_no_answer(order: list[str], num_windowed: int, max_tokens: int):
    """However little room there is, and whoever is put back for it: the fake says what it says without windows."""
    usual = {"context_len": 120, "num_slots": 8, "max_batch_tokens": 32}
    plain = Driver(fake_info(Pages(PAGE_LEN, 300), **usual))
    tight = Driver(fake_info(Pages(PAGE_LEN, 300, WINDOW, num_windowed), **usual))
    for driver in (plain, tight):
        ids = [driver.submit(prompt, sampling=GREEDY, max_tokens=max_tokens) for prompt in order]
        driver.run()
        driver.texts = [driver.answers[id].text() for id in ids]  # type: ignore[attr-defined]
    assert plain.texts == tight.texts  # type: ignore[attr-defined]
    tight.engine.scheduler.check()


@pytest.mark.parametrize("num_windowed", [26, 30, 44, 48])
def test_peers_who_block_one_another_end_alone(num_windowed: int):
    """Guidance runs two sequences, each with half of the room, and none has enough: it fails, and the engine goes on."""
    driver = Driver(fake_info(Pages(4, 300, 16, num_windowed), context_len=256, num_slots=4, max_batch_tokens=16))
    guided = driver.submit("p" * 200, SamplingParams(temperature=0, guidance_scale=2.0), negative="n" * 200, max_tokens=4)
    driver.run()
    last = driver.answers[guided].events[-1]
    assert isinstance(last, Failed) == (num_windowed < 48)
    assert not isinstance(last, Failed) or isinstance(last.error, OutOfMemory)
    assert driver.ask("x", max_tokens=2).tokens()


@pytest.mark.parametrize(("prompt_len", "max_tokens"), [(30, 80), (100, 12)], ids=["answers grow", "prompts grow"])
def test_who_grows_beyond_what_is_there_is_put_back_and_resumed(prompt_len: int, max_tokens: int):
    """Each alone has room: begun together, because they are small then, they have not."""
    usual = {"context_len": 120, "num_slots": 8, "max_batch_tokens": 32}
    texts = {}
    for memory in (Pages(PAGE_LEN, 300), Pages(PAGE_LEN, 300, WINDOW, 30)):
        driver = Driver(fake_info(memory, **usual))
        ids = [driver.submit(letter * prompt_len, sampling=GREEDY, max_tokens=max_tokens) for letter in "abc"]
        driver.run()
        texts[memory] = [driver.answers[id].text() for id in ids]
        assert (driver.engine.scheduler.num_preemptions > 0) == bool(memory.window)
    kept, given_back = texts.values()
    assert kept == given_back
    assert all(len(text) == max_tokens for text in kept)
