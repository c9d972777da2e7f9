"""Beam search, as Hugging Face's `generate` does it: the likeliest whole answers, not the likeliest next tokens.

A beam's score is the sum of its tokens' log probabilities (after the samplers; temperature and truncation shape them, nothing
is drawn). An ended beam is kept with score / length^length_penalty, and `early_stopping` says when to look no further.
Beams are sequences like any other: they part by forking, which copies at most a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from publican.core.events import FinishReason
from publican.core.executor import Array
from publican.core.ids import TokenId
from publican.engine.sampling.pipeline import Draw
from publican.engine.search.search import Tools
from publican.engine.sequence import Group
from publican.engine.sequence import Sequence as Running


class _Successor(NamedTuple):
    """A way on: `beam`, and then `token`."""

    score: float
    beam: Running
    token: TokenId


@dataclass(frozen=True, slots=True)
class _Ended:
    """A whole answer; `tokens` are the generated ones."""

    score: float
    tokens: tuple[TokenId, ...]
    reason: FinishReason
    stopped_by: TokenId | None


class BeamSearch:
    """Follows `Search`. Begins with the group's one sequence."""

    hidden_wanted = False
    reads_prompt = False
    writes = True

    def __init__(self, group: Group, tools: Tools) -> None:
        self._group = group
        self._tools = tools
        params = group.job.sampling
        self._num_beams = params.num_beams
        self._length_penalty = params.length_penalty
        self._early_stopping = params.early_stopping
        self._scores: dict[Running, float] = dict.fromkeys(group.sequences, 0.0)
        self._ended: list[_Ended] = []

    def saw(self, sequence: Running, states: Array) -> None:
        """Beams have no use for hidden states."""

    def advance(self, logits: Array, rows: Mapping[Running, int]) -> None:
        first = next(iter(self._scores))
        going_on = self._successors(logits, rows)
        if not going_on or self._is_done(going_on[0].score, first):
            self._end()
        elif self._tools.room(first) <= 1:
            for one in going_on:
                self._keep(one, FinishReason.LENGTH)
            self._end()
        else:
            self._follow(going_on)

    def _successors(self, logits: Array, rows: Mapping[Running, int]) -> list[_Successor]:
        """The best ways on, best first; ends among the very best are kept aside."""
        beams = list(self._scores)
        ends = self._tools.ends(beams[0])
        count = max(2, 1 + len(ends)) * self._num_beams
        draws = [Draw(self._tools.row(beam), rows[beam]) for beam in beams]
        ranked = self._tools.pipeline.rank(logits, draws, count, normalise_first=True)
        candidates = [
            _Successor(self._scores[beam] + value, beam, token)
            for beam, of_beam in zip(beams, ranked, strict=True)
            for token, value in of_beam
        ]
        candidates.sort(key=lambda one: -one.score)
        going_on = []
        for place, one in enumerate(candidates[:count]):
            if one.token not in ends:
                going_on.append(one)
            elif place < self._num_beams:
                self._keep(one, FinishReason.STOP)
        return going_on[: self._num_beams]

    def _keep(self, one: _Successor, reason: FinishReason) -> None:
        tokens = (*one.beam.tokens[one.beam.num_prompt :], one.token)
        score = one.score / max(1, len(tokens)) ** self._length_penalty
        self._ended.append(_Ended(score, tokens, reason, one.token if reason is FinishReason.STOP else None))
        self._ended.sort(key=lambda ended: -ended.score)
        del self._ended[self._num_beams :]

    def _is_done(self, best_score: float, beam: Running) -> bool:
        """Whether nothing that still runs can be worth following."""
        if len(self._ended) < self._num_beams:
            return False
        if self._early_stopping == "true":
            return True
        length = beam.num_generated + 1
        if self._early_stopping == "never" and self._length_penalty > 0:
            length = beam.num_generated + self._tools.room(beam)
        longest: float = length**self._length_penalty
        return self._ended[-1].score >= best_score / longest

    def _follow(self, going_on: list[_Successor]) -> None:
        """Each beam goes on with its best successor, and branches for the others; a beam without one is dropped."""
        heirs: dict[Running, _Successor] = {}
        branches = []
        for one in going_on:
            if one.beam in heirs:
                branches.append(one)
            heirs.setdefault(one.beam, one)
        for beam in [beam for beam in self._scores if beam not in heirs]:
            self._tools.drop(beam)
        scores = {self._tools.branch(one.beam, [*one.beam.tokens, one.token]): one.score for one in branches}
        for beam, one in heirs.items():
            beam.tokens.append(one.token)
            scores[beam] = one.score
        self._scores = scores
        self._tools.follow_together(list(scores))

    def stop(self) -> None:
        for beam, score in self._scores.items():
            length = max(1, beam.num_generated)
            tokens = tuple(beam.tokens[beam.num_prompt :])
            self._ended.append(_Ended(score / length**self._length_penalty, tokens, FinishReason.ABORTED, None))
        self._ended.sort(key=lambda ended: -ended.score)
        self._end()

    def _end(self) -> None:
        """Give the best answers, as many as are wanted."""
        for beam in list(self._scores):
            self._tools.drop(beam)
        given = self._ended[: self._group.job.wanted.num_choices]
        for index, ended in enumerate(given):
            self._tools.outbox.whole_choice(self._group, index, ended.tokens, ended.reason, ended.stopped_by)
        self._tools.outbox.finished(self._group, sum(len(ended.tokens) for ended in given))
