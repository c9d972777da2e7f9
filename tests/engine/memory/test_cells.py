from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from publican.core.executor import Cells
from publican.core.step import Free, Row, Share, StepPlan, Truncate
from publican.engine.memory.cells import CellCache
from publican.executors.fake import FakeExecutor, fake_info
from tests.engine.memory.machine import CacheMachine


def computed(cache: CellCache, tokens: list[int]) -> int:
    lease = cache.lock(tokens)
    assert lease is not None
    assert cache.reserve(lease.slot, len(tokens))
    cache.insert(lease.slot, tokens, len(tokens))
    return lease.slot


def test_an_idle_slot_is_taken_over_where_it_continues():
    cache = CellCache(100, num_slots=4)
    slot = computed(cache, [1, 2, 3])
    cache.unlock(slot)
    cache.drain()
    lease = cache.lock([1, 2, 3, 4])
    assert lease == (slot, 3)
    assert cache.drain() == ()


def test_a_running_slot_shares_its_beginning():
    cache = CellCache(100, num_slots=4)
    slot = computed(cache, [1, 2, 3, 4])
    lease = cache.lock([1, 2, 9])
    assert lease is not None
    assert lease.num_cached == 2
    assert cache.drain() == (Share(slot, lease.slot, 2),)
    assert cache.num_locked_tokens == 4
    cache.check()


def test_regenerating_computes_one_token():
    cache = CellCache(100, num_slots=1)
    cache.unlock(computed(cache, [1, 2, 3, 4, 5]))
    lease = cache.lock([1, 2, 3])
    assert lease is not None
    assert lease.num_cached == 2
    assert cache.drain() == (Truncate(lease.slot, 2),)


def test_the_longest_unused_goes_first():
    cache = CellCache(10, num_slots=8)
    for tokens in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        cache.unlock(computed(cache, tokens))
    cache.drain()
    lease = cache.lock([4] * 4)
    assert lease is not None
    assert cache.reserve(lease.slot, 4)
    assert len([op for op in cache.drain() if isinstance(op, Free)]) == 1
    assert cache.match([1, 1, 1, 0]) == 0
    assert cache.match([2, 2, 2, 0]) == 3


def test_a_model_that_cannot_rewind_continues_whole_sequences_only():
    cache = CellCache(100, num_slots=4, can_rewind=False)
    cache.unlock(computed(cache, [1, 2, 3]))
    assert cache.match([1, 2, 9]) == 0
    assert cache.match([1, 2, 3, 9]) == 3
    slot = computed(cache, [1, 2, 3, 9])
    assert cache.truncate(slot, 3) == 0


class CellCacheMachine(CacheMachine):
    """Random sequences on the fake's own cells, which refuse what libllama would refuse."""

    num_cells = 40

    def __init__(self) -> None:
        super().__init__(CellCache(self.num_cells, 5))
        self.info = fake_info(Cells(self.num_cells), context_len=40, num_slots=5, max_batch_tokens=100, num_adapters=2)
        self.executor = FakeExecutor(self.info)
        self.adapters: dict[int, int] = {}

    def plan(self, *rows: Row) -> None:
        self.executor.execute(StepPlan(rows, self.cache.drain()))

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=20), reuse=st.booleans(), adapter=st.integers(-1, 1))
    def come(self, tokens: list[int], reuse: bool, adapter: int) -> None:
        lease = self.cache.lock(tokens, reuse, adapter)
        if lease is None:
            assert len(self.held) == 5
            return
        assert lease.num_cached < len(tokens)
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
        if len(tokens) < 40 and self.cache.reserve(slot, len(tokens) + 1):
            self.plan(Row(slot, [token], len(tokens), 0, adapter=self.adapters[slot]))
            tokens.append(token)
            self.cache.insert(slot, tokens, len(tokens))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.held)))
        wanted = data.draw(st.integers(0, len(self.held[slot])))
        assert self.cache.truncate(slot, wanted) == wanted
        del self.held[slot][wanted:]

    @invariant()
    def no_more_is_held_than_there_is(self) -> None:
        assert self.cache.num_locked_tokens <= self.num_cells

    @invariant()
    def every_slot_reads_what_it_holds(self) -> None:
        self.plan()
        for slot, tokens in self.held.items():
            changed = [token + (self.adapters[slot] + 1) * self.info.vocab_size for token in tokens]
            assert self.executor._memory.read(slot, len(tokens)) == changed


CellCacheMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCellCacheMachine = CellCacheMachine.TestCase
