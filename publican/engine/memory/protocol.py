"""`PrefixCache`: what the scheduler asks of the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from publican.core.ids import SlotId, TokenId
from publican.core.step import NO_ADAPTER, MemoryOp


class Lease(NamedTuple):
    """A slot, and how many tokens it already holds."""

    slot: SlotId
    num_cached: int


class PrefixCache(Protocol):
    """Hands out slots and room, and remembers what was computed so that others can begin with it.

    Engine thread only. A slot is locked from `lock` to `unlock`; what a locked slot holds is never evicted. Operations
    that a call makes necessary wait in order until `drain`. What was computed with one adapter is of no use with another, nor
    without: `adapter` is whose memory a call is about.
    """

    def match(self, tokens: Sequence[TokenId], adapter: int = NO_ADAPTER) -> int:
        """How many leading tokens of `tokens` could be reused right now; always fewer than all. Changes nothing."""
        ...

    def lock(self, tokens: Sequence[TokenId], reuse: bool = True, adapter: int = NO_ADAPTER) -> Lease | None:
        """A slot that begins with as much of `tokens` as can be reused (nothing, with `reuse` off). None: no slot is free."""
        ...

    def reserve(self, slot: SlotId, num_tokens: int) -> bool:
        """Make room so that `slot` can hold `num_tokens` in all, evicting what nobody has locked. False changes nothing."""
        ...

    def num_spare_tokens(self, slot: SlotId, num_tokens: int) -> int:
        """Room that would be left, what can be evicted with it, if `slot` held `num_tokens` in all; below zero it could not."""
        ...

    def insert(self, slot: SlotId, tokens: Sequence[TokenId], num_computed: int) -> None:
        """`slot` now holds the first `num_computed` of `tokens`; others may match them from the next plan on."""
        ...

    def pass_over(self, slot: SlotId, num_computed: int) -> None:
        """`slot` now holds so many tokens, and nobody may match them."""
        ...

    def truncate(self, slot: SlotId, num_tokens: int) -> int:
        """Forget what `slot` holds from `num_tokens` on, or from somewhat earlier; returns how many it still holds."""
        ...

    def discard(self, slot: SlotId) -> None:
        """More was computed for `slot` than was inserted (guesses that did not come true): that must not be kept."""
        ...

    def unlock(self, slot: SlotId) -> None:
        """The slot's sequence is done. What it computed stays matchable until it is evicted."""
        ...

    def evict(self, num_tokens: int) -> int:
        """Forget unlocked tokens, longest unused first, until `num_tokens` or more are forgotten; returns how many were."""
        ...

    def shrink(self) -> None:
        """The executor had no room where the books saw some: from now on what is held at this moment is all there is."""
        ...

    def drain(self) -> tuple[MemoryOp, ...]:
        """The operations since the last drain, to go into the next plan."""
        ...

    @property
    def num_locked_tokens(self) -> int:
        """Room that is taken and cannot be evicted, in tokens."""
        ...

    @property
    def num_total_tokens(self) -> int: ...

    def check(self) -> None:
        """Raises AssertionError if the books do not balance."""
        ...
