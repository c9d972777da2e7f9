"""What random life is the same on every kind of memory: slots go, room is asked for, and the books balance after each step."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from publican.engine.memory import PrefixCache


class CacheMachine(RuleBasedStateMachine):
    """`held` are the tokens of each running slot; how they come, grow and are cut, a test of one kind says."""

    def __init__(self, cache: PrefixCache) -> None:
        super().__init__()
        self.cache = cache
        self.held: dict[int, list[int]] = {}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.held)))
        self.cache.unlock(slot)
        del self.held[slot]

    @rule(num_tokens=st.integers(1, 20))
    def evict(self, num_tokens: int) -> None:
        self.cache.evict(num_tokens)

    @invariant()
    def books_balance(self) -> None:
        self.cache.check()
