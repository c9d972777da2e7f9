"""`ModelDrafter`: the drafter that asks a smaller model, on an executor and with a KV cache of its own. Engine thread only.

It guesses for all sequences of a step together, one token of each in a round. A guess is drawn as the engine draws: by the
same samplers, with the random number of that position. So a draft that agrees with the target guesses right at every
temperature, not only where both are greedy (drafting by a coupling: Daliri et al. 2024).

What it holds of a sequence it reads when guesses pay (`worth`), a bounded part in a step, and shares by a prefix cache like the
target's. A draft that breaks is closed, and the answers go on without guesses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from collections.abc import Sequence as Seq
from dataclasses import replace

from publican.core.errors import EngineError, OutOfMemory
from publican.core.executor import Array, Executor
from publican.core.ids import TokenId
from publican.core.step import Row, StepPlan
from publican.core.tokenizer import Vocabulary
from publican.engine.budget import BudgetConfig, StepBudget
from publican.engine.drafting.chance import Chance
from publican.engine.drafting.drafter import Asking, Guesses
from publican.engine.drafting.follower import Follower
from publican.engine.drafting.worth import Candidate, Worth
from publican.engine.job import Job
from publican.engine.memory import cache_for
from publican.engine.sampling.pipeline import Draw, Pipeline

log = logging.getLogger(__name__)

_LONGEST = 8
_SHORT_PENDING = 16
"""So little is read in the round that guesses; more is read before, in parts."""
_TRY_DEPTH, _TRY_PENDING = 2, 64
_CURIOUS_EVERY, _CURIOUS_TRIES, _CURIOUS_PENDING = 16, 4, 512
"""One sequence in sixteen is tried although nothing speaks for it: models, machines and texts change."""
_LONGEST_PATIENCE = 1_024
_PLAIN_EVERY = 32
"""Among so many steps with guesses one is without, so that its time stays known."""
_USUAL_AT_FIRST, _USUAL_FORGETTING = 0.7, 0.99
_MOST_READ_PER_TOKEN = 16
"""A long text is not read for the sake of a few tokens."""


class ModelDrafter:
    """See `Drafter`.

    Args:
        executor: of the draft model, closed by this. Its tokens are the target's, as far as both have them.
        vocabulary: the target's.
        budget: how much of a step reading may take while others wait.
    """

    def __init__(self, executor: Executor, vocabulary: Vocabulary, budget: BudgetConfig) -> None:
        info = executor.info
        self.took_s = 0.0
        self.worth = Worth()
        self.usual = Chance(forgetting=_USUAL_FORGETTING)
        self._executor: Executor | None = executor
        self._info = info
        self._width = min(info.vocab_size, vocabulary.size)
        self._is_narrow = self._width < vocabulary.size
        self._ends = vocabulary.end
        self._cache = cache_for(info)
        known = replace(vocabulary, pieces=vocabulary.pieces[: self._width])
        self._pipeline = Pipeline(known, executor.top if self._width == info.vocab_size else None)
        self._budget = StepBudget(budget.within(info.max_batch_tokens))
        self._followers: dict[Follower, None] = {}
        self._num_begun = 0
        self._num_proposed = 0

    def begin(self, job: Job, index: int, full_len: int) -> Guesses:
        is_curious = self._num_begun % _CURIOUS_EVERY == 0
        self._num_begun += 1
        num_tries = _CURIOUS_TRIES if is_curious else 0
        full_len = min(full_len, self._info.context_len)
        return Follower(job, index, full_len, self.usual, self._forget, self._pipeline.rewind, num_tries=num_tries)

    def propose(self, asking: Seq[Asking], num_planned: int, num_free: int) -> list[list[TokenId]]:
        began_s = time.perf_counter()
        followers = [self._follow(one) for one in asking]
        depths = self._depths(followers, num_planned, num_free) if self._executor is not None else {}
        drafts: dict[Follower, list[TokenId]] = {}
        if depths:
            try:
                drafts = self._draft(depths)
            except OutOfMemory:
                self._forget_all()
                self._cache.evict(self._cache.num_total_tokens)
            except EngineError as error:
                log.warning("the draft model broke, and answers go on without it: %s", error)
                self.close()
        self.took_s = time.perf_counter() - began_s if depths else 0.0
        return [drafts.get(follower, []) for follower in followers]

    def timed(self, num_tokens: int, step_s: float) -> None:
        self.worth.target.learn(num_tokens, step_s)

    def close(self) -> None:
        self._forget_all()
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    def check(self) -> None:
        """Raises AssertionError if the followers and the memory disagree."""
        self._cache.check()
        slots = [follower.slot for follower in self._followers if follower.slot is not None]
        assert len(set(slots)) == len(slots)
        for follower in self._followers:
            assert follower.num_kept <= follower.num_computed <= len(follower.tokens)
            assert follower.slot is not None or follower.num_computed == 0

    # --- who is to have how many

    def _follow(self, asking: Asking) -> Follower:
        follower = asking.guesses
        assert isinstance(follower, Follower)
        follower.follow(asking.tokens, self._cache)
        self._followers[follower] = None
        return follower

    def _depths(self, followers: Seq[Follower], num_planned: int, num_free: int) -> dict[Follower, int]:
        """How many guesses each should get; those that should get none, now or soon, are left out."""
        self._num_proposed += 1
        if self._num_proposed % _PLAIN_EVERY == 0:
            return {}
        usual = self.usual.value(_USUAL_AT_FIRST)
        able = [one for one in followers if self._is_able(one)][: self._info.max_logits]
        candidates = [Candidate(one.chance.value(usual), self._most(one), min(one.num_pending, _SHORT_PENDING)) for one in able]
        wanted = self.worth.depths(candidates, num_planned, num_free)
        depths: dict[Follower, int] = {}
        for follower, depth in zip(able, wanted, strict=True):
            tried = _TRY_DEPTH if not depth and self._is_tried(follower, num_planned, num_free) else 0
            given = min(depth or tried, self._most(follower), num_free)
            if given:
                num_free -= given
                depths[follower] = given
        return depths

    def _is_able(self, follower: Follower) -> bool:
        """Whether there is something left to guess, and the draft knows what came before."""
        num_left = self._most_ever(follower)
        if num_left < 1 or follower.num_pending > max(_CURIOUS_PENDING, _MOST_READ_PER_TOKEN * num_left):
            return False
        return not self._is_narrow or max(follower.tokens[follower.num_computed :]) < self._width

    def _is_tried(self, follower: Follower, num_planned: int, num_free: int) -> bool:
        """Whether a follower that would not pay is to guess all the same, to see whether that is still so."""
        if follower.num_tries:
            follower.num_tries -= 1
            return follower.num_pending <= _CURIOUS_PENDING
        follower.num_skipped += 1
        if follower.num_skipped < follower.patience:
            return False
        follower.num_skipped = 0
        follower.patience = min(2 * follower.patience, _LONGEST_PATIENCE)
        return follower.num_pending <= _TRY_PENDING and self.worth.could_pay(num_planned, num_free)

    @staticmethod
    def _most_ever(follower: Follower) -> int:
        return follower.full_len - 1 - len(follower.tokens)

    def _most(self, follower: Follower) -> int:
        return min(_LONGEST, self._most_ever(follower))

    # --- reading and guessing

    def _draft(self, depths: dict[Follower, int]) -> dict[Follower, list[TokenId]]:
        ready = {one: depth for one, depth in depths.items() if self._has_room(one, depth, depths)}
        num_read, going, lagging = 0, [], []
        for follower in ready:
            if follower.num_pending <= _SHORT_PENDING and num_read + follower.num_pending <= self._info.max_batch_tokens:
                num_read += follower.num_pending
                going.append(follower)
            else:
                lagging.append(follower)
        if lagging:
            self._read(lagging, len(ready))
        drafts: dict[Follower, list[TokenId]] = {follower: [] for follower in going}
        while going:
            for follower, token in zip(going, self._round(going), strict=True):
                drafts[follower].append(token)
            going = [one for one in going if len(drafts[one]) < ready[one] and not self._is_end(one, drafts[one][-1])]
        return drafts

    def _has_room(self, follower: Follower, depth: int, asked: Collection[Follower]) -> bool:
        """A slot with room for all that is known and guessed. Where it is short, those that are not asked give theirs back."""
        if self._reserve(follower, depth):
            return True
        idle = [one for one in self._followers if one.slot is not None and one not in asked]
        for one in idle:
            one.leave()
        if idle and self._reserve(follower, depth):
            return True
        follower.leave()
        return False

    def _reserve(self, follower: Follower, depth: int) -> bool:
        if follower.slot is None and not follower.start(self._cache):
            return False
        assert follower.slot is not None
        return self._cache.reserve(follower.slot, follower.num_true + depth)

    def _read(self, lagging: Seq[Follower], num_waiting: int) -> None:
        """Bring these nearer to their last token, which is read when they guess. So many wait for it, they among them."""
        budget, rows = self._budget.num_prompt_tokens(num_waiting), []
        for follower in lagging:
            num_tokens = min(follower.num_pending - 1, budget)
            if num_tokens > 0:
                assert follower.slot is not None
                start = follower.num_computed
                rows.append(Row(follower.slot, follower.tokens[start : start + num_tokens], start, 0))
                follower.num_computed += num_tokens
                budget -= num_tokens
        if not rows:
            return
        began_s = time.perf_counter()
        self._execute(rows)
        for follower in lagging:
            follower.keep(self._cache)
        self._budget.learn(sum(len(row.tokens) for row in rows), time.perf_counter() - began_s)

    def _round(self, going: Seq[Follower]) -> list[TokenId]:
        """One more token of each."""
        began_s = time.perf_counter()
        rows, draws = [], []
        for place, follower in enumerate(going):
            assert follower.slot is not None
            rows.append(Row(follower.slot, follower.tokens[follower.num_computed :], follower.num_computed, 1))
            draws.append(Draw(self._row(follower), place))
        choices = self._pipeline.sample(self._execute(rows), draws)
        for follower, choice in zip(going, choices, strict=True):
            follower.num_computed = len(follower.tokens)
            follower.tokens.append(choice.token)
        self.worth.draft.learn(sum(len(row.tokens) for row in rows), time.perf_counter() - began_s)
        return [choice.token for choice in choices]

    def _execute(self, rows: Seq[Row]) -> Array:
        assert self._executor is not None
        logits = self._executor.execute(StepPlan(tuple(rows), self._cache.drain())).logits
        return logits if self._width == self._info.vocab_size else self._pipeline.narrowed(logits, self._width)

    def _row(self, follower: Follower) -> int:
        if follower.row is None:
            job = follower.job
            sampling = job.sampling.for_choice(follower.index)
            follower.row = self._pipeline.add(sampling, follower.tokens, None, len(job.tokens), job.stopping.token_ids)
        return follower.row

    def _is_end(self, follower: Follower, token: TokenId) -> bool:
        stopping = follower.job.stopping
        return token in stopping.token_ids or (token in self._ends and not stopping.ignore_eos)

    # --- letting go

    def _forget(self, follower: Follower) -> None:
        self._followers.pop(follower, None)
        if follower.row is not None:
            self._pipeline.remove(follower.row)
            follower.row = None
        follower.stop(self._cache)

    def _forget_all(self) -> None:
        for follower in list(self._followers):
            self._forget(follower)
