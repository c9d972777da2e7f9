"""Contrastive search (Su et al. 2022): of the likeliest next tokens, the one whose meaning differs most from what was said.

Each of the k likeliest tokens is computed, side by side; token c gets (1 - alpha) · p(c) - alpha · max similarity of its
hidden state to those of all tokens before it, and the best one stays. So every token costs a step of k rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from publican.core.events import FinishReason
from publican.core.executor import Array
from publican.engine.sampling.contrast import Contrast
from publican.engine.sampling.pipeline import Choice, Draw
from publican.engine.search.search import Tools
from publican.engine.sequence import Group
from publican.engine.sequence import Sequence as Running


class ContrastiveSearch:
    """Follows `Search`. Begins with the group's one sequence; after that the group holds the candidates of the moment."""

    hidden_wanted = True
    writes = True

    def __init__(self, group: Group, tools: Tools) -> None:
        self._group = group
        self._tools = tools
        self._num_candidates = max(2, group.job.sampling.top_k)
        self._contrast = Contrast(group.job.sampling.penalty_alpha)
        self._candidates: dict[Running, float] = {}  # and how likely each is
        self._states: dict[Running, Array] = {}

    @property
    def reads_prompt(self) -> bool:
        return not self._candidates

    def saw(self, sequence: Running, states: Array) -> None:
        if self._candidates:
            self._states[sequence] = self._contrast.copied(states[-1:])
            return
        if sequence.num_computed == 0:
            self._contrast.forget()
        self._contrast.remember(states)

    def advance(self, logits: Array, rows: Mapping[Running, int]) -> None:
        if not self._candidates:
            (sequence,) = self._group.sequences
            self._branch(sequence, logits, rows[sequence])
            return
        best = self._best()
        reason = self._tools.outbox.say(best, Choice(best.tokens[-1])).reason
        for other in [one for one in self._candidates if one is not best]:
            self._tools.drop(other)
        if reason is None:
            self._branch(best, logits, rows[best])
        else:
            self._tools.drop(best)
            self._tools.outbox.ended(best, reason)
            self._tools.outbox.finished(self._group, best.num_generated)

    def stop(self) -> None:
        (*_, last) = sequences = tuple(self._group.sequences)
        num_generated = max(0, last.num_generated - 1)  # what is a candidate was not said
        for sequence in sequences:
            self._tools.drop(sequence)
        self._tools.outbox.ended(last, FinishReason.ABORTED)
        self._tools.outbox.finished(self._group, num_generated)

    def _best(self) -> Running:
        candidates = list(self._candidates)
        place = self._contrast.best(list(self._candidates.values()), [self._states[one] for one in candidates])
        self._contrast.remember(self._states[candidates[place]])
        return candidates[place]

    def _branch(self, sequence: Running, logits: Array, row: int) -> None:
        """Put the likeliest next tokens after `sequence` to the test."""
        tools = self._tools
        (ranked,) = tools.pipeline.rank(logits, [Draw(tools.row(sequence), row)], self._num_candidates)
        branches = [tools.branch(sequence, [*sequence.tokens, token]) for token, _ in ranked[1:]]
        sequence.tokens.append(ranked[0][0])
        likely = (math.exp(value) for _, value in ranked)
        self._candidates = dict(zip((sequence, *branches), likely, strict=True))
        self._states = {}
        tools.follow_together(list(self._candidates))
