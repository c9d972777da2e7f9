"""Decides what the next step computes. Plain Python: no arrays, no clock, no I/O; engine thread only.

Each sequence has `num_computed` chasing `len(tokens)`, and a plan says how many tokens each gets (vLLM's rule). So
chunked prefill, prefix hits and preemption are not cases but values. In one step:

1. every sequence with little pending (one token, when it is decoding) gets all of it; where memory is short, the newest
   running sequence is put back;
2. the queue is let in, in order of arrival, as slots and memory allow;
3. prompts share what is left of the budget, the shortest first, but none is passed over for ever;
4. where few answers run and no prompt does, guesses at their next tokens come along (`drafting`).

A newcomer whose prompt begins like one that is being computed right now waits for that, and then finds it in the cache:
a room full of people with the same character card costs one prefill.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass

from publican.core.step import StepPlan
from publican.engine.budget import StepBudget
from publican.engine.drafting.drafter import Asking, Drafter
from publican.engine.memory import PrefixCache
from publican.engine.planned import Planned, is_kept, is_ready, num_logits_of, order, row_of
from publican.engine.sequence import Sequence
from publican.engine.sharing import Sharing

_WATERMARK_TOKENS = 16
"""Room kept for each running sequence to grow before another is let in, so that it is not put back at once."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Attributes:
    max_running: sequences computed together at most.
    max_logits: rows of logits in a step at most; never below `max_running`.
    max_skipped: after so many steps without a token, a prompt goes before shorter ones.
    min_shared: a newcomer waits for a running prompt only for this many common tokens or more.
    max_guessing: tokens in a step at most, guesses among them, if it is to have guesses; 0 for none.
    whole_prompts: a prompt is computed in one step or not at all (an encoder).
    """

    max_running: int
    max_logits: int
    max_skipped: int = 8
    min_shared: int = 32
    max_guessing: int = 0
    whole_prompts: bool = False


class Scheduler:
    """The queue, the running set, and the plan."""

    def __init__(self, config: SchedulerConfig, cache: PrefixCache, budget: StepBudget, drafter: Drafter | None = None) -> None:
        self.config = config
        self._drafter = drafter
        self.cache = cache
        self.budget = budget
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self.num_cached_tokens = 0
        self.num_guessed_tokens = 0
        self.num_true_tokens = 0
        self._planned: dict[Sequence, int] = {}
        self._memory_changed = True
        self._is_blocked = False
        """Whether a prompt that runs lacked room in the last plan: with windowed pages that can be."""
        self._sharing = Sharing(cache, config.min_shared)

    # --- coming and going

    def submit(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=order)

    def finish(self, sequence: Sequence) -> None:
        """`sequence` has ended, wherever it stands; its computed prefix stays in the cache."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            self._memory_changed = True  # for those behind it: they may need less
        else:
            self._leave(sequence)

    def drop(self, sequence: Sequence) -> None:
        """As `finish`, of one whose request failed: it may not have come yet, or have gone already."""
        if sequence.slot is not None or sequence in self.waiting:
            self.finish(sequence)

    def _leave(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self.running.remove(sequence)
        if sequence.draft:
            self.cache.discard(sequence.slot)
        if sequence.guesses is not None:
            sequence.guesses.leave()
        self.cache.unlock(sequence.slot)
        sequence.slot = None
        self._memory_changed = True
        self._sharing.forget(sequence)

    def preempt(self, sequence: Sequence) -> None:
        """Put a running sequence, and its peers, back in the queue. What they computed stays cached while there is room."""
        for peer in sequence.unit:
            self._planned.pop(peer, None)
            self._leave(peer)
            peer.num_computed = 0
            self.submit(peer)
        self.num_preemptions += 1

    def fork(self, parent: Sequence, child: Sequence) -> bool:
        """Let `child`, whose tokens but the last are all that running `parent` has computed, run beside it from now on.

        False: there is no room, and nothing was changed.
        """
        assert parent.slot is not None
        if len(self.running) >= self.config.max_running or not self._lease(child):
            return False
        insort(self.running, child, key=order)
        return True

    def put_back(self, sequences: Iterable[Sequence]) -> None:
        """Let these wait together; some of them may be waiting already."""
        for sequence in sequences:
            if sequence.slot is not None:
                self._leave(sequence)
                sequence.num_computed = 0
                self.submit(sequence)

    def rewind(self, sequence: Sequence, num_tokens: int) -> None:
        """Only the first `num_tokens` tokens of a running sequence stand; the last of them is computed (again) next."""
        assert sequence.slot is not None
        if sequence.num_computed >= num_tokens:
            sequence.num_computed = self.cache.truncate(sequence.slot, num_tokens - 1)

    def retreat(self) -> Sequence | None:
        """The executor had no room for the last plan: its operations were followed, its rows were not computed.

        Forgets what is idle, or else puts the newest sequence back; returns it if it is alone and must fail.
        """
        if self.cache.evict(self.cache.num_total_tokens):
            return None
        newest = self.running[-1]
        if len(self.running) == len(newest.unit):
            return newest
        self.cache.shrink()
        self.preempt(newest)
        return None

    @property
    def stuck(self) -> Sequence | None:
        """Asked where nothing can be planned: who must fail, because there is not even room for it, and its peers, alone."""
        if self._is_blocked:
            return self.running[0]
        return self.waiting[0] if self.waiting and not self.running else None

    # --- deciding

    def plan(self) -> tuple[StepPlan, tuple[Planned, ...]] | None:
        """The next step, and what it gives to whom in the order of its rows; None if there is nothing to do."""
        self._decide()
        if not self._planned and any(is_ready(s) for s in self.running):
            self._decide()  # peers that were let in a moment ago, and found all but their last tokens in the cache
        if not self._planned:
            return None
        if self._drafter is not None and len(self._planned) < self.config.max_guessing:
            self._guess(self._drafter)
        rows = tuple(row_of(sequence, n) for sequence, n in self._planned.items())
        return StepPlan(rows, self.cache.drain()), tuple(Planned(s, n) for s, n in self._planned.items())

    def _decide(self) -> None:
        self._planned = {}
        for sequence in self.running:
            sequence.draft = []
        for sequence in [s for s in self.running if is_ready(s)]:
            if sequence.slot is None or self._num_planned + sequence.num_pending > self.budget.config.max_tokens:
                continue
            if self._make_room(sequence):
                self._planned[sequence] = sequence.num_pending
        self._keep_units_whole()
        self._admit()
        whole = self.config.whole_prompts
        free = self.budget.config.max_tokens - self._num_planned
        budget = free if whole else self.budget.num_prompt_tokens(self._num_planned)
        self._share_budget(budget)
        while self._is_blocked and not self._planned and self.running[-1] not in self.running[0].unit:
            self.preempt(self.running[-1])
            self._share_budget(budget)

    @property
    def _num_planned(self) -> int:
        return sum(self._planned.values())

    def _keep_units_whole(self) -> None:
        """Peers that did not all find room in this step wait for the next one together."""
        for sequence in [s for s in self._planned if s.peers]:
            if not all(peer in self._planned for peer in sequence.peers):
                del self._planned[sequence]

    def _make_room(self, sequence: Sequence) -> bool:
        """Room for all of a running sequence's tokens, at the cost of the newest ones. False: it was itself put back."""
        assert sequence.slot is not None
        while not self.cache.reserve(sequence.slot, len(sequence.tokens)):
            newest = self.running[-1]
            self.preempt(newest)
            if newest in sequence.unit:
                return False
        return True

    def _admit(self) -> None:
        if self._is_blocked or (not self._memory_changed and not self._sharing.knows_any):
            return  # whoever runs and lacks room goes before all who wait
        computing = [s for s in self.running if s.num_pending > 1]
        for sequence in list(self.waiting):
            unit = sequence.unit
            if sequence is not unit[0]:
                continue
            if len(self.running) + len(unit) > self.config.max_running:
                return
            if self._sharing.is_worth_waiting(sequence, computing):
                continue
            if not self._start(unit):
                break
            computing.extend(unit)
        else:
            self._memory_changed = True
            return
        self._memory_changed = False

    def _start(self, unit: tuple[Sequence, ...]) -> bool:
        """Let all of `unit` run, or none."""
        started: list[Sequence] = []
        for sequence in unit:
            if not self._lease(sequence, keep_room=True):
                for taken in reversed(started):
                    self._leave(taken)
                    taken.num_computed = 0
                return False
            started.append(sequence)
            insort(self.running, sequence, key=order)
        for sequence in unit:
            self.waiting.remove(sequence)
            sequence.skipped = 0
            self.num_cached_tokens += sequence.num_computed
            if sequence.num_generated == 0 and sequence.index == 0:
                sequence.group.num_cached_tokens = sequence.num_computed
        return True

    def _lease(self, sequence: Sequence, keep_room: bool = False) -> bool:
        """A slot with room for all of the sequence's tokens; with `keep_room`, only if the running ones can still grow."""
        search = sequence.group.search
        reuse = not (sequence.reads_whole_prompt or (search is not None and search.reads_prompt))
        lease = self.cache.lock(sequence.tokens, reuse, sequence.adapter)
        if lease is None:
            return False
        too_tight = (
            keep_room
            and self.running
            and self.cache.num_spare_tokens(lease.slot, len(sequence.tokens)) < _WATERMARK_TOKENS * len(self.running)
        )
        if too_tight or not self.cache.reserve(lease.slot, len(sequence.tokens)):
            self.cache.unlock(lease.slot)
            return False
        sequence.slot, sequence.num_computed = lease
        return True

    def _share_budget(self, budget: int) -> None:
        prompts = [s for s in self.running if s not in self._planned]
        prompts.sort(key=lambda s: (s.skipped < self.config.max_skipped, s.num_pending, *order(s)))
        num_logits = len(self._planned)
        self._is_blocked = False
        for sequence in prompts:
            num_tokens = min(sequence.num_pending - bool(sequence.peers), budget)
            if self.config.whole_prompts and num_tokens < sequence.num_pending:
                num_tokens = 0
            if num_tokens == 0 and sequence.peers:
                continue  # it waits for its peers, and its last token is computed with theirs
            if sequence.reads_whole_prompt:
                num_tokens = min(num_tokens, self.config.max_logits - num_logits)
            elif num_logits == self.config.max_logits:
                num_tokens = 0
            assert sequence.slot is not None
            has_room = num_tokens <= 0 or self.cache.reserve(sequence.slot, sequence.num_computed + num_tokens)
            if num_tokens <= 0 or not has_room:
                self._is_blocked |= not has_room
                sequence.skipped += 1
                continue
            sequence.skipped = 0
            self._planned[sequence] = num_tokens
            budget -= num_tokens
            num_logits += num_logits_of(sequence, num_tokens)

    def _guess(self, drafter: Drafter) -> None:
        """Let the answers have guesses. A prompt in the step leaves no room for any."""
        num_free = min(self.config.max_guessing, self.budget.config.max_tokens, self.config.max_logits) - self._num_planned
        askers = [
            (sequence, Asking(sequence.guesses, sequence.tokens))
            for sequence, num_tokens in self._planned.items()
            if sequence.guesses is not None and num_tokens == sequence.num_pending and not sequence.reads_whole_prompt
        ]
        if num_free < 1 or not askers:
            return
        drafts = drafter.propose([asking for _, asking in askers], self._num_planned, num_free)
        for (sequence, _), draft in zip(askers, drafts, strict=True):
            assert sequence.slot is not None
            if draft and self.cache.reserve(sequence.slot, len(sequence.tokens) + len(draft)):
                sequence.draft = draft

    # --- committing

    def confirm(self, sequence: Sequence) -> None:
        """A guess came true: what was computed for it stands."""
        assert sequence.slot is not None
        sequence.num_computed += 1
        self.cache.insert(sequence.slot, sequence.tokens, sequence.num_computed)

    def settle(self, sequence: Sequence, num_true: int) -> None:
        """Of the guesses of this step, so many came true, and the rest is forgotten."""
        assert sequence.slot is not None
        assert sequence.guesses is not None
        if num_true < len(sequence.draft):
            self.cache.discard(sequence.slot)
        sequence.guesses.learn(len(sequence.draft), num_true)
        self.num_guessed_tokens += len(sequence.draft)
        self.num_true_tokens += num_true
        sequence.draft = []

    def commit(self, planned: Iterable[Planned]) -> None:
        """The step was computed: what it gave can be matched by others from now on."""
        for sequence, num_tokens in planned:
            assert sequence.slot is not None
            sequence.num_computed += num_tokens
            if is_kept(sequence):
                self.cache.insert(sequence.slot, sequence.tokens, sequence.num_computed)
            else:
                self.cache.pass_over(sequence.slot, sequence.num_computed)

    def check(self) -> None:
        """Raises AssertionError if the queue, the running set and the memory disagree."""
        self.cache.check()
        assert len(self.running) <= self.config.max_running
        assert len({s.slot for s in self.running}) == len(self.running)
        assert all(s.slot is not None and s.num_pending >= 1 for s in self.running)
        assert all(s.slot is None and s.num_computed == 0 for s in self.waiting)
        for sequence in (*self.waiting, *self.running):
            assert sequence in sequence.unit
            assert len({peer.slot is None for peer in sequence.unit}) == 1, "peers are torn apart"
        for queue in (self.waiting, self.running):
            assert [order(s) for s in queue] == sorted(order(s) for s in queue)
