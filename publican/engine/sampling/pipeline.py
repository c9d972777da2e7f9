"""`Pipeline`: rows of logits in, chosen tokens out. Engine thread only.

One row per running sequence, from `add` to `remove`, whatever its place in the batch. A step's batch is an index into the rows;
what samplers need of it is gathered once and kept until the batch is made up differently.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from publican.core.executor import Array, Top
from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.core.tokenizer import Vocabulary
from publican.engine.sampling.arrays import Space
from publican.engine.sampling.draw import Drawn
from publican.engine.sampling.facts import VocabularyFacts
from publican.engine.sampling.group import Group, grouped
from publican.engine.sampling.guidance import log_softmax
from publican.engine.sampling.logprobs import Choice, as_pairs, choices_of, likeliest_of, raw_rows, with_logprobs
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.rng import mixed_seed
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.samplers import make_samplers
from publican.engine.sampling.stack import order_of, stack_of
from publican.engine.sampling.state import RowState
from publican.engine.sampling.step import (
    Draw,
    begin,
    chosen,
    guide,
    own_logits,
    run,
    through_samplers,
    tokens_quickly,
    tokens_the_short_way,
)

__all__ = ["Choice", "Draw", "Pipeline", "Ranked"]

_NOTHING = Choice(TokenId(0))
_MAX_PLANS = 64

Ranked = tuple[tuple[TokenId, float], ...]
"""Tokens and log probabilities, likeliest first."""


class Pipeline:
    """Samplers of all running sequences.

    Args:
        vocabulary: gives ends, protected tokens and DRY's breakers; without it, what needs them does nothing.
        top: the executor's own, where it has one. It changes how long sampling takes, and nothing else.
    """

    def __init__(self, vocabulary: Vocabulary | None = None, top: Top | None = None) -> None:
        self._top = top
        self._facts = VocabularyFacts(vocabulary)
        self._samplers = make_samplers()
        self._states: dict[int, RowState] = {}
        self._free: list[int] = []
        self._space: Space | None = None
        self._plans: dict[tuple[int, ...], list[Group]] = {}

    # --- rows

    def add(
        self,
        params: SamplingParams,
        tokens: Sequence[TokenId],
        num_logprobs: int | None = None,
        num_prompt: int | None = None,
        stop_ids: tuple[TokenId, ...] = (),
    ) -> int:
        """A row for a sequence. `tokens` is its live list, prompt first: read here, appended to by the engine.

        Args:
            num_logprobs: None for no log probabilities; else how many of the likeliest besides the chosen one's.
            num_prompt: how many of `tokens` are the prompt; by default all that are there now.
            stop_ids: tokens that end the answer besides the model's own, for `min_tokens`.
        """
        assert params.seed is not None or params.is_greedy, "the host gives every request a seed"
        stack = stack_of(params)
        state = RowState(
            params=params,
            tokens=tokens,
            num_prompt=len(tokens) if num_prompt is None else num_prompt,
            num_logprobs=num_logprobs,
            stop_ids=stop_ids,
            order=order_of(params),
            stack=stack,
            seed=mixed_seed(params.seed or 0),
        )
        return self._settle(state)

    def remove(self, row: int) -> None:
        del self._states[row]
        self._free.append(row)
        self._plans.clear()

    def rewind(self, row: int, num_tokens: int) -> None:
        """Forget what came of the tokens from `num_tokens` on. Call it before others are appended in their place."""
        self._states[row].rewind(num_tokens)

    def fork(self, row: int, tokens: Sequence[TokenId]) -> int:
        """A second row in the state of `row`, for a sequence whose live list is `tokens`: beams that part."""
        old = self._states[row]
        trails = {name: trail.copy() for name, trail in old.trails.items()}
        return self._settle(replace(old, tokens=tokens, trails=trails, history=None, counts=None, memory={}))

    def _settle(self, state: RowState) -> int:
        row = self._free.pop() if self._free else len(self._states)
        self._states[row] = state
        on = frozenset(state.stack)
        try:
            for sampler in dict.fromkeys(self._samplers.values()):
                sampler.add(row, state.params, on)
        except BaseException:
            self.remove(row)  # whoever has it next says anew what each sampler is to do
            raise
        self._plans.clear()
        return row

    def check(self, rows: Collection[int]) -> None:
        """Raises AssertionError unless `rows` are the ones in use."""
        assert sorted(self._states) == sorted(rows), "rows were lost, or given twice"
        assert sorted((*self._states, *self._free)) == list(range(len(self._states) + len(self._free)))

    # --- steps

    def sample(self, logits: Array, draws: Sequence[Draw]) -> list[Choice]:
        """The next token of every draw, in order. May write to `logits`, float32 [N, V]."""
        groups = self._groups(logits, draws)
        if len(groups) == 1:
            return self._choices(groups[0], logits, draws, draws)
        choices: list[Choice] = [_NOTHING] * len(draws)
        for group in groups:
            some = self._choices(group, logits, [draws[place] for place in group.members], draws)
            for place, choice in zip(group.members, some, strict=True):
                choices[place] = choice
        return choices

    def _choices(self, group: Group, logits: Array, own: Sequence[Draw], draws: Sequence[Draw]) -> list[Choice]:
        """Those of one group, whose draws are `own`."""
        tokens = tokens_quickly(group, logits, own) if group.is_quick else None
        if tokens is not None:
            return [Choice(TokenId(token)) for token in tokens]
        with np.errstate(over="ignore"):  # -1e38 times ten is -inf, as it should be
            rows = _rows(group, logits, own, draws)
            raw = raw_rows(group, rows)
            drawn, tokens = self._drawn(group, rows, own)
            return with_logprobs(group, rows, raw, drawn, tokens)

    def _drawn(self, group: Group, rows: Rows, own: Sequence[Draw]) -> tuple[Drawn | None, list[int]]:
        """What comes out of a group, and its tokens on the host. The short way gives no columns; nobody wants them then."""
        if not (group.is_greedy and not group.calls and all(one.is_plain for one in own)):
            begin(group, rows, own)
            run(group, rows, group.calls[: group.num_edits])
            if group.recipes is not None:
                tokens = tokens_the_short_way(group, rows.logits)
                if tokens is not None:
                    return None, tokens
            run(group, rows, group.calls[group.num_edits :])
        drawn = chosen(group, rows)
        return drawn, rows.space.get(drawn.tokens)[:, 0].tolist()

    def process(self, logits: Array, draws: Sequence[Draw]) -> Array:
        """The logits from which each draw would be made, -inf where a token is out: [len(draws), V]. Nothing is drawn."""
        parts: list[Array] = [None] * len(draws)
        with np.errstate(over="ignore"):
            for group in self._groups(logits, draws):
                own = [draws[place] for place in group.members]
                rows = _rows(group, logits, own, draws)
                through_samplers(group, rows, own)
                if group.is_greedy:
                    rows.keep_first(rows.xp.ones((rows.num_rows, 1), dtype=rows.xp.bool, device=rows.space.device))
                whole = rows.whole_logits()
                for i, place in enumerate(group.members):
                    parts[place] = whole[i : i + 1, :]
        return Space.of(logits).xp.concat(parts, axis=0)

    def rank(self, logits: Array, draws: Sequence[Draw], count: int, normalise_first: bool = False) -> list[Ranked]:
        """For each draw the `count` likeliest tokens after its samplers, with log probabilities: for beams and candidates.

        A greedy row is ranked by what its penalties leave. With `normalise_first` the samplers work on log probabilities, and
        their results are scores that need not add up to 1 any more, as Hugging Face's beam search has it.
        """
        ranked: list[Ranked] = [()] * len(draws)
        with np.errstate(over="ignore"):
            for group in self._groups(logits, draws):
                own = [draws[place] for place in group.members]
                rows = _rows(group, logits, own, draws)
                if normalise_first:
                    rows.replace(log_softmax(rows.passes, rows.logits))
                through_samplers(group, rows, own)
                tokens, values = likeliest_of(rows, count)
                if normalise_first:
                    rows.settle()
                    values = values + rows.space.get(rows.xp.log(rows.total) + rows.peak)
                for i, place in enumerate(group.members):
                    ranked[place] = as_pairs(tokens[i], values[i])
        return ranked

    def logprobs(self, logits: Array, tokens: Sequence[TokenId], num_top: int) -> list[Choice]:
        """The log probability of `tokens[i]` under row i of `logits`, and the `num_top` likeliest, likeliest first."""
        if not tokens:
            return []
        rows = Rows(Passes(Space.of(logits), logits.shape[1], self._top), logits)
        return choices_of(rows, rows.space.put(np.array(tokens, dtype=np.int64)[:, None]), tokens, [num_top] * len(tokens))

    @staticmethod
    def narrowed(logits: Array, num_tokens: int) -> Array:
        """A copy of `logits` [N, V] without the tokens from `num_tokens` on."""
        return Space.of(logits).xp.asarray(logits[:, :num_tokens], copy=True)

    def _groups(self, logits: Array, draws: Sequence[Draw]) -> list[Group]:
        """The groups of this batch, made when it is met first."""
        space = Space.of(logits)
        if space is not self._space and space != self._space:
            self._plans.clear()
            self._space = space
        which = tuple([one.row for one in draws])
        plan = self._plans.get(which)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            states = [self._states[row] for row in which]
            plan = self._plans[which] = grouped(
                Passes(space, logits.shape[1], self._top), which, states, self._samplers, self._facts
            )
        return plan


def _rows(group: Group, logits: Array, own: Sequence[Draw], draws: Sequence[Draw]) -> Rows:
    """The rows of a group, which may be written to. `draws` are those of all groups."""
    passes = group.batch.passes
    read = [one.logits_row for one in draws] + [one.uncond_row for one in draws if one.uncond_row is not None]
    part = own_logits(passes.space, logits, own, may_write=len(set(read)) == len(read))
    guide(passes, part, logits, own, group)
    return Rows(passes, part)
