import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from publican.core.executor import Pages
from publican.core.step import CopyPage, Extend, Free, Row, StepPlan
from publican.engine.memory.pages import PageCache
from publican.executors.fake import fake_info
from publican.executors.page_table import PageTables
from tests.engine.memory.machine import CacheMachine

PAGE_LEN = 4


def computed(cache: PageCache, tokens: list[int]) -> int:
    """Lock, reserve and insert `tokens`; returns the slot."""
    lease = cache.lock(tokens)
    assert lease is not None
    assert cache.reserve(lease.slot, len(tokens))
    cache.insert(lease.slot, tokens, len(tokens))
    return lease.slot


def test_full_pages_are_shared_and_never_the_last_token():
    cache = PageCache(PAGE_LEN, num_pages=16, num_slots=4)
    tokens = list(range(12))
    first = computed(cache, tokens)
    assert cache.match(tokens) == 11  # two pages, and three tokens of a copied third
    assert cache.match([*tokens, 99]) == 12
    cache.drain()
    lease = cache.lock([*tokens, 99])
    assert lease is not None
    assert lease.num_cached == 12
    (extend,) = cache.drain()
    assert isinstance(extend, Extend)
    assert len(extend.pages) == 3
    cache.unlock(first)
    cache.unlock(lease.slot)
    cache.check()
    assert cache.match([*tokens, 99]) == 12


def test_the_page_that_agrees_longest_is_copied():
    cache = PageCache(PAGE_LEN, num_pages=16, num_slots=4)
    cache.unlock(computed(cache, [1, 2, 3, 4, 5, 6, 7]))
    cache.unlock(computed(cache, [1, 2, 3, 4, 5, 9, 9]))
    cache.drain()
    lease = cache.lock([1, 2, 3, 4, 5, 6, 8])
    assert lease is not None
    assert lease.num_cached == 6
    copies = [op for op in cache.drain() if isinstance(op, CopyPage)]
    assert len(copies) == 1


def test_a_running_sequence_shares_its_open_page():
    cache = PageCache(PAGE_LEN, num_pages=16, num_slots=4)
    computed(cache, [1, 2, 3, 4, 5, 6])
    assert cache.match([1, 2, 3, 4, 5, 6, 7]) == 6


def test_reuse_can_be_declined():
    cache = PageCache(PAGE_LEN, num_pages=16, num_slots=4)
    computed(cache, list(range(8)))
    lease = cache.lock(list(range(9)), reuse=False)
    assert lease is not None
    assert lease.num_cached == 0


def test_what_is_locked_is_never_evicted():
    cache = PageCache(PAGE_LEN, num_pages=4, num_slots=4)
    slot = computed(cache, list(range(8)))
    other = cache.lock([50])
    assert other is not None
    assert not cache.reserve(other.slot, 3 * PAGE_LEN)
    assert cache.reserve(other.slot, 2 * PAGE_LEN)
    cache.unlock(slot)
    assert cache.reserve(other.slot, 3 * PAGE_LEN)
    cache.check()


def test_the_longest_unused_goes_first_and_leaves_before_roots():
    cache = PageCache(PAGE_LEN, num_pages=4, num_slots=4)
    cache.unlock(computed(cache, [1, 2, 3, 4, 5, 6, 7, 8]))
    cache.unlock(computed(cache, [9, 9, 9, 9]))
    assert cache.evict(1) == PAGE_LEN
    assert cache.match([1, 2, 3, 4, 5, 6, 7, 8, 0]) == 4
    assert cache.match([9, 9, 9, 9, 0]) == 4


def test_truncating_inside_a_shared_page_goes_back_to_its_beginning():
    cache = PageCache(PAGE_LEN, num_pages=8, num_slots=2)
    slot = computed(cache, list(range(10)))
    assert cache.truncate(slot, 9) == 9
    assert cache.truncate(slot, 6) == 4
    cache.check()
    assert cache.reserve(slot, 8)
    cache.insert(slot, [0, 1, 2, 3, 7, 7, 7, 7], 8)
    cache.check()
    assert cache.match([0, 1, 2, 3, 7, 7, 7, 7, 1]) == 8


def test_no_page_is_shared_between_adapters():
    cache = PageCache(PAGE_LEN, num_pages=16, num_slots=4)
    tokens = list(range(10))
    cache.unlock(computed(cache, tokens))
    assert cache.match(tokens, 0) == 0
    lease = cache.lock(tokens, adapter=0)
    assert lease is not None
    assert lease.num_cached == 0
    assert cache.reserve(lease.slot, 10)
    cache.insert(lease.slot, tokens, 10)
    assert (cache.match(tokens), cache.match(tokens, 0), cache.match(tokens, 1)) == (9, 9, 0)
    cache.check()


def test_no_slot_is_no_lease():
    cache = PageCache(PAGE_LEN, num_pages=8, num_slots=1)
    assert cache.lock([1]) is not None
    assert cache.lock([2]) is None


class PageCacheMachine(CacheMachine):
    """Random slots come, grow, are cut and go, on a real page table whose pages remember what was written."""

    def __init__(self) -> None:
        super().__init__(PageCache(PAGE_LEN, 12, 4))
        info = fake_info(Pages(PAGE_LEN, 12), context_len=24, num_slots=4, max_batch_tokens=100, num_adapters=2)
        self.tables = PageTables(info)
        self.written: dict[int, list[tuple[int, int]]] = {}
        self.adapters: dict[int, int] = {}

    def plan(self, *rows: Row) -> None:
        for source, target, _ in self.tables.apply(StepPlan(rows, self.cache.drain())):
            self.written[target] = list(self.written[source])
        for row in rows:
            for i, token in enumerate(row.tokens):
                page, inside = divmod(row.start + i, PAGE_LEN)
                self.written.setdefault(int(self.tables.table[row.slot, page]), [(-1, -1)] * PAGE_LEN)[inside] = (
                    token,
                    row.adapter,
                )

    def read(self, slot: int, length: int) -> list[tuple[int, int]]:
        pages = self.tables.table[slot, : -(-length // PAGE_LEN)]
        return [t for p in pages for t in self.written[int(p)]][:length]

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=20), reuse=st.booleans(), adapter=st.integers(-1, 1))
    def come(self, tokens: list[int], reuse: bool, adapter: int) -> None:
        expected = self.cache.match(tokens, adapter) if reuse else 0
        lease = self.cache.lock(tokens, reuse, adapter)
        if lease is None:
            assert len(self.held) == 4
            return
        assert lease.num_cached <= expected
        if not self.cache.reserve(lease.slot, len(tokens)):
            self.cache.unlock(lease.slot)
            return
        self.held[lease.slot], self.adapters[lease.slot] = tokens, adapter
        self.plan(Row(lease.slot, tokens[lease.num_cached :], lease.num_cached, 0, adapter=adapter))
        self.cache.insert(lease.slot, tokens, len(tokens))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), token=st.integers(0, 1))
    def grow(self, data: st.DataObject, token: int) -> None:
        slot = data.draw(st.sampled_from(sorted(self.held)))
        tokens = self.held[slot]
        if len(tokens) < 24 and self.cache.reserve(slot, len(tokens) + 1):
            self.plan(Row(slot, [token], len(tokens), 0, adapter=self.adapters[slot]))
            tokens.append(token)
            self.cache.insert(slot, tokens, len(tokens))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.held)))
        tokens = self.held[slot]
        wanted = data.draw(st.integers(0, len(tokens)))
        kept = self.cache.truncate(slot, wanted)
        assert wanted - PAGE_LEN < kept <= max(wanted, 0) or kept == len(tokens)
        del tokens[kept:]

    @invariant()
    def every_slot_reads_what_it_holds(self) -> None:
        self.plan()
        for slot, tokens in self.held.items():
            assert self.read(slot, len(tokens)) == [(token, self.adapters[slot]) for token in tokens]


PageCacheMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPageCacheMachine = PageCacheMachine.TestCase


@pytest.mark.parametrize("page_len", [1, 2, 16])
@given(prompts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=40), min_size=1, max_size=6))
@settings(deadline=None, max_examples=50)
def test_match_is_the_longest_agreement(page_len: int, prompts: list[list[int]]):
    """Nothing was evicted, so the cache finds all that any earlier sequence shares."""
    cache = PageCache(page_len, num_pages=1_000, num_slots=8)
    for i, prompt in enumerate(prompts):
        best = max((agreement(p, prompt[:-1]) for p in prompts[:i]), default=0)
        assert cache.match(prompt) == best
        cache.unlock(computed(cache, prompt))
    assert any(isinstance(op, Free) for op in cache.drain())


def agreement(a: list[int], b: list[int]) -> int:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length
