"""The prefix cache of cell memory: sequences, and the longest beginning that two of them share (libllama).

A slot is either locked by a running sequence or idle, holding what its last one computed. A newcomer takes over the idle
slot that its prompt continues, or shares the beginning of any slot that agrees longest; sharing costs no cells.

The books are a tree of runs. A run is a stretch of tokens that the same slots own; its cells are free when no slot owns it:

    run 0..400 (slots 1, 2, 5) ── run 400..440 (slots 1, 2) ── run 440..500 (slot 1)
                               │                            └─ run 440..460 (slot 2)
                               └─ run 400..431 (slot 5)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from publican.core.ids import SlotId, TokenId
from publican.core.step import NO_ADAPTER, Free, MemoryOp, Share, Truncate
from publican.engine.memory.agreement import common_length
from publican.engine.memory.protocol import Lease


class _Run:
    """`length` tokens after `parent`'s, owned by `num_owners` slots (those of its children among them)."""

    __slots__ = ("length", "num_owners", "parent")

    def __init__(self, length: int, parent: _Run | None) -> None:
        self.length = length
        self.parent = parent
        self.num_owners = 1


class _Sequence:
    """What one slot holds. `run` is its last one; no other slot ends in the same run."""

    __slots__ = ("adapter", "num_reserved", "run", "tokens")

    def __init__(self, adapter: int) -> None:
        self.adapter = adapter
        self.tokens: list[TokenId] = []
        self.run = _Run(0, None)
        self.num_reserved = 0
        """Cells promised beyond `tokens`."""


class CellCache:
    """The sequence policy. See `PrefixCache` for what the methods promise.

    Args:
        num_cells: cells in all, one token each.
        num_slots: how many sequences there may be, running and idle together.
        can_rewind: whether the executor can forget just the tail of a sequence.
    """

    def __init__(self, num_cells: int, num_slots: int, can_rewind: bool = True) -> None:
        self.num_cells = num_cells
        self.can_rewind = can_rewind
        self._empty = [SlotId(i) for i in reversed(range(num_slots))]
        self._idle: OrderedDict[SlotId, None] = OrderedDict()
        self._locked: set[SlotId] = set()
        self._slots: dict[SlotId, _Sequence] = {}
        self._num_used = 0
        self._ops: list[MemoryOp] = []

    # --- matching

    def match(self, tokens: Sequence[TokenId], adapter: int = NO_ADAPTER) -> int:
        return self._find(tokens, adapter)[1]

    def _find(self, tokens: Sequence[TokenId], adapter: int) -> tuple[SlotId | None, int]:
        """The slot that agrees longest with all but the last of `tokens`, an idle one before a locked one."""
        best: SlotId | None = None
        best_len = 0
        for slot in (*self._idle, *self._locked):
            held = self._slots[slot].tokens
            if self._slots[slot].adapter != adapter:
                continue
            length = common_length(held, tokens, len(tokens) - 1)
            if not self.can_rewind and (length < len(held) or slot in self._locked):
                continue  # only a whole idle sequence can be continued
            if length > best_len:
                best, best_len = slot, length
        return best, best_len

    # --- the life of a slot

    def lock(self, tokens: Sequence[TokenId], reuse: bool = True, adapter: int = NO_ADAPTER) -> Lease | None:
        source, length = self._find(tokens, adapter) if reuse else (None, 0)
        if source is not None and source in self._idle:
            continues = length == len(self._slots[source].tokens)
            if continues or not (self._empty or len(self._idle) > 1):
                del self._idle[source]
                self._locked.add(source)
                self._cut(source, length)
                return Lease(source, length)
        if not self._empty and not self._evict_one(keep=source):
            return None
        slot = self._empty.pop()
        self._slots[slot] = _Sequence(adapter)
        self._locked.add(slot)
        if source is not None and length:
            self._share(source, slot, length)
        return Lease(slot, length if source is not None else 0)

    def reserve(self, slot: SlotId, num_tokens: int) -> bool:
        sequence = self._slots[slot]
        num_missing = num_tokens - len(sequence.tokens) - sequence.num_reserved
        if num_missing <= 0:
            return True
        if num_missing > self.num_cells - self._num_used:
            if num_missing > self.num_cells - self.num_locked_tokens:
                return False
            while num_missing > self.num_cells - self._num_used:
                self._evict_one(keep=None)
        sequence.num_reserved += num_missing
        self._num_used += num_missing
        return True

    def num_spare_tokens(self, slot: SlotId, num_tokens: int) -> int:
        return self.num_cells - self.num_locked_tokens - (num_tokens - len(self._slots[slot].tokens))

    def insert(self, slot: SlotId, tokens: Sequence[TokenId], num_computed: int) -> None:
        sequence = self._slots[slot]
        new = tokens[len(sequence.tokens) : num_computed]
        sequence.tokens.extend(new)
        sequence.num_reserved -= len(new)
        assert sequence.num_reserved >= 0, "computed more than was reserved"
        sequence.run.length += len(new)

    def pass_over(self, slot: SlotId, num_computed: int) -> None:
        """Nothing to note: what was reserved is so until `unlock`."""

    def truncate(self, slot: SlotId, num_tokens: int) -> int:
        held = len(self._slots[slot].tokens)
        if num_tokens >= held:
            return held
        if not self.can_rewind:
            num_tokens = 0
        self._cut(slot, num_tokens)
        return num_tokens

    def discard(self, slot: SlotId) -> None:
        self._ops.append(Truncate(slot, len(self._slots[slot].tokens)))

    def unlock(self, slot: SlotId) -> None:
        sequence = self._slots[slot]
        self._num_used -= sequence.num_reserved
        sequence.num_reserved = 0
        self._locked.remove(slot)
        if sequence.tokens:
            self._idle[slot] = None
        else:
            self._forget(slot)

    def evict(self, num_tokens: int) -> int:
        before = self._num_used
        while before - self._num_used < num_tokens and self._evict_one(keep=None):
            pass
        return before - self._num_used

    def shrink(self) -> None:
        self.num_cells = self._num_used - sum(sequence.num_reserved for sequence in self._slots.values())

    # --- runs

    def _share(self, source: SlotId, target: SlotId, num_tokens: int) -> None:
        """`target`, empty until now, begins with the first `num_tokens` of `source`."""
        top = self._split(self._slots[source], num_tokens)
        sequence = self._slots[target]
        sequence.tokens = self._slots[source].tokens[:num_tokens]
        sequence.run.parent = top
        run: _Run | None = top
        while run is not None:
            run.num_owners += 1
            run = run.parent
        self._ops.append(Share(source, target, num_tokens))

    def _cut(self, slot: SlotId, num_tokens: int) -> None:
        """`slot` keeps its first `num_tokens`; cells that no other slot owns become free, promised ones too."""
        sequence = self._slots[slot]
        self._num_used -= sequence.num_reserved
        sequence.num_reserved = 0
        if num_tokens == len(sequence.tokens):
            return
        top = self._split(sequence, num_tokens)
        run: _Run | None = sequence.run
        while run is not top:
            assert run is not None
            run.num_owners -= 1
            if run.num_owners == 0:
                self._num_used -= run.length
            run = run.parent
        sequence.run = _Run(0, top)
        del sequence.tokens[num_tokens:]
        self._ops.append(Truncate(slot, num_tokens))

    def _split(self, sequence: _Sequence, num_tokens: int) -> _Run | None:
        """Make a run of `sequence` end exactly at `num_tokens`, and return it; None stands for the empty beginning."""
        run: _Run | None = sequence.run
        end = len(sequence.tokens)
        while run is not None and end - run.length >= num_tokens:
            end -= run.length
            run = run.parent
        if run is None:
            return None
        if end == num_tokens and run is not sequence.run:
            return run
        top = _Run(num_tokens - (end - run.length), run.parent)
        top.num_owners = run.num_owners
        run.parent = top
        run.length -= top.length
        return top

    def _evict_one(self, keep: SlotId | None) -> bool:
        """Forget the idle slot that was not used for longest, other than `keep`."""
        for slot in self._idle:
            if slot != keep:
                del self._idle[slot]
                self._forget(slot)
                return True
        return False

    def _forget(self, slot: SlotId) -> None:
        self._cut(slot, 0)
        if self._ops and self._ops[-1] == Truncate(slot, 0):
            self._ops.pop()
        self._ops.append(Free(slot))
        del self._slots[slot]
        self._empty.append(slot)

    # --- the rest

    def drain(self) -> tuple[MemoryOp, ...]:
        ops, self._ops = tuple(self._ops), []
        return ops

    @property
    def num_locked_tokens(self) -> int:
        seen: set[_Run] = set()
        total = 0
        for slot in self._locked:
            sequence = self._slots[slot]
            total += sequence.num_reserved
            run: _Run | None = sequence.run
            while run is not None and run not in seen:
                seen.add(run)
                total += run.length
                run = run.parent
        return total

    @property
    def num_total_tokens(self) -> int:
        return self.num_cells

    def check(self) -> None:
        owners: dict[_Run, int] = {}
        num_used = 0
        for sequence in self._slots.values():
            length = 0
            run: _Run | None = sequence.run
            while run is not None:
                owners[run] = owners.get(run, 0) + 1
                length += run.length
                run = run.parent
            assert length == len(sequence.tokens), "the runs do not add up to the tokens"
            num_used += sequence.num_reserved
        num_used += sum(run.length for run in owners)
        assert all(run.num_owners == n for run, n in owners.items()), "an owner was lost"
        assert num_used == self._num_used, "cells were lost or given twice"
        assert not self._locked & set(self._idle)
        assert set(self._slots) == self._locked | set(self._idle)
