"""`Follower`: what a draft model holds of one sequence. Engine thread only.

    tokens     0 ............................ num_true ......... len(tokens)
               what the sequence is known to have    guesses at what comes
    in slot    0 ........... num_kept ............ num_computed
               may be used by others    computed for guesses, maybe

It keeps up by comparing: whatever became of the guesses, the sequence's own list says it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from publican.core.ids import SlotId, TokenId
from publican.engine.drafting.chance import Chance
from publican.engine.job import Job
from publican.engine.memory.agreement import common_length
from publican.engine.memory.protocol import PrefixCache


@dataclass(slots=True, eq=False)
class Follower:
    """Attributes:
    full_len: how long the sequence can become.
    forget: called when the sequence does not run any more; gives back the slot and the sampler's row.
    rewind: called with a sampler's row, and how many of the tokens behind it still stand, before others take their place.
    chance: of its guesses; `usual` is everybody's.
    num_tries: rounds in which it is to guess whatever it costs, so that something is known.
    num_skipped: rounds in which it did not pay; `patience` of them, and it is tried again.
    row: in the sampler, while it guesses.
    """

    job: Job
    index: int
    full_len: int
    usual: Chance
    forget: Callable[[Follower], None]
    rewind: Callable[[int, int], None]
    chance: Chance = field(default_factory=Chance)
    num_tries: int = 0
    num_skipped: int = 0
    patience: int = 16
    tokens: list[TokenId] = field(default_factory=list)
    num_true: int = 0
    slot: SlotId | None = None
    num_kept: int = 0
    num_computed: int = 0
    row: int | None = None

    def learn(self, num_guessed: int, num_true: int) -> None:
        self.chance.learn(num_guessed, num_true)
        self.usual.learn(num_guessed, num_true)

    def leave(self) -> None:
        self.forget(self)

    @property
    def num_pending(self) -> int:
        """Tokens that the draft must read before it can guess; at least 1."""
        return self.num_true - self.num_computed

    def follow(self, tokens: Seq[TokenId], cache: PrefixCache) -> None:
        """The sequence is now `tokens`: what the draft computed of them stands, the rest of its guesses is forgotten."""
        known = self.num_true
        assert len(tokens) >= known, "a sequence with guesses never goes back"
        same = known + common_length(self.tokens[known:], tokens[known:])
        if same < len(self.tokens):
            if self.row is not None:
                self.rewind(self.row, same)
            del self.tokens[same:]
        self.tokens.extend(tokens[same:])
        self.num_true = len(tokens)
        if self.slot is not None:
            computed, self.num_computed = self.num_computed, min(self.num_computed, same, len(tokens) - 1)
            self.keep(cache)
            if self.num_computed < computed:
                cache.discard(self.slot)

    def keep(self, cache: PrefixCache) -> None:
        """All that is computed is true, and others may begin with it."""
        assert self.slot is not None
        self.num_kept = self.num_computed
        cache.insert(self.slot, self.tokens, self.num_kept)

    def start(self, cache: PrefixCache) -> bool:
        """A slot, with as much as others left there. False: none is free."""
        lease = cache.lock(self.tokens[: self.num_true])
        if lease is None:
            return False
        self.slot, self.num_computed = lease
        self.num_kept = self.num_computed
        return True

    def stop(self, cache: PrefixCache) -> None:
        """Give the slot back; what is true of it stays in the cache while there is room."""
        if self.slot is not None:
            if self.num_computed > self.num_kept:
                cache.discard(self.slot)
            cache.unlock(self.slot)
        self.slot, self.num_computed, self.num_kept, self.num_true = None, 0, 0, 0
        self.tokens.clear()
