"""`Group`: rows of a batch that can go through the samplers together, and the samplers' calls in order. Engine thread only.

Rows go together if one order suits them all and the same step is the first to cut; so a row meets the same arithmetic whoever
its batch-mates are. A group holds for as long as its rows are batched together: what its samplers take out of their columns
is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from publican.core.sampling.orders import PENALTY_STEPS, STEPS
from publican.engine.sampling.batch import Batch, Feedback, Sampler
from publican.engine.sampling.facts import VocabularyFacts
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.recipe import STEPS as SHORT
from publican.engine.sampling.recipe import Recipe, recipe_of
from publican.engine.sampling.short import ShortWay
from publican.engine.sampling.stack import ADAPTIVE_FLOOR, BIAS_STEPS, CUTTING, SELECTORS
from publican.engine.sampling.state import RowState

_TAIL = (ADAPTIVE_FLOOR, *SELECTORS)
FEW = 512
"""Groups of more rows go the batch's way."""
EDITING = frozenset((*BIAS_STEPS, *PENALTY_STEPS))
"""Steps that change single tokens and look at nothing else."""


class Call(NamedTuple):
    """Run `steps` of `sampler`."""

    sampler: Sampler
    steps: frozenset[str]


@dataclass(slots=True)
class Group:
    """Some rows of a batch.

    Attributes:
        members: their places in the batch.
        batch: what samplers see of them.
        feedback: the samplers that want to know what was drawn.
        wants_raw, wants_processed: which members want log probabilities, and of what; places in the group.
        recipes: for the short way, behind the first `num_edits` calls; None if the group cannot go it.
        way: the short one, once it was gone.
        is_quick: nothing but a way to a token is wanted, the short one or the likeliest's, and it changes no logits.
    """

    members: list[int]
    batch: Batch
    calls: list[Call]
    is_greedy: bool
    feedback: list[Feedback]
    wants_raw: list[int]
    wants_processed: list[int]
    recipes: list[Recipe] | None
    num_edits: int
    is_quick: bool
    way: ShortWay | None = None


def grouped(
    passes: Passes, rows: Sequence[int], states: Sequence[RowState], samplers: dict[str, Sampler], facts: VocabularyFacts
) -> list[Group]:
    """The groups of a batch of rows."""
    groups = []
    for order, is_greedy, places in _parted(states, passes.most_rows):
        batch = Batch(passes, np.array([rows[p] for p in places], dtype=np.int64), [states[p] for p in places], facts)
        on = frozenset(step for p in places for step in states[p].stack)
        steps = [step for step in (*BIAS_STEPS, *order, *_TAIL) if step in on]
        calls = _calls(steps, samplers)
        feedback = list(dict.fromkeys(call.sampler for call in calls if isinstance(call.sampler, Feedback)))
        wanting = [i for i, state in enumerate(batch.states) if state.num_logprobs is not None]
        raw = [i for i in wanting if not batch.states[i].params.processed_logprobs]
        processed = [i for i in wanting if i not in raw]
        recipes = None if is_greedy or processed else _recipes(batch)
        num_edits = sum(call.steps <= EDITING for call in calls)
        is_short = recipes is not None or (is_greedy and passes.space.is_numpy and len(places) <= FEW)
        is_quick = is_short and not num_edits and not wanting
        groups.append(Group(places, batch, calls, is_greedy, feedback, raw, processed, recipes, num_edits, is_quick))
    return groups


def _parted(states: Sequence[RowState], most: int) -> Iterator[tuple[tuple[str, ...], bool, list[int]]]:
    """The places of rows that go together, at most so many, with their order and whether they are greedy."""
    members: dict[tuple[tuple[str, ...], str | None, bool], list[int]] = {}
    for place, state in enumerate(states):
        first_cut = next((step for step in state.stack if step in CUTTING), None)
        members.setdefault((_common_order(state), first_cut, state.params.is_greedy), []).append(place)
    for (order, _, is_greedy), places in members.items():
        for start in range(0, len(places), most):
            yield order, is_greedy, places[start : start + most]


def _common_order(state: RowState) -> tuple[str, ...]:
    """publican's own order where it does for this row what the row's own does: so rows of several dialects go together."""
    rest = iter(STEPS)
    own = (step for step in state.stack if step not in BIAS_STEPS and step not in _TAIL)
    return STEPS if all(step in rest for step in own) else state.order


def _recipes(batch: Batch) -> list[Recipe] | None:
    """What each row wants, if they are few, all on the host, and all want only what the short way knows."""
    if not batch.space.is_numpy or len(batch.states) > FEW:
        return None
    recipes = []
    for state in batch.states:
        edits = next((i for i, step in enumerate(state.stack) if step not in EDITING), len(state.stack))
        rest = state.stack[edits:]
        if state.params.min_keep > 1 or not set(rest) <= SHORT:
            return None
        recipes.append(recipe_of(state.params, rest))
    return recipes


def _calls(steps: Sequence[str], samplers: dict[str, Sampler]) -> list[Call]:
    """One call per step; but the penalties that stand next to each other together, repetition first."""
    calls: list[Call] = []
    for step in steps:
        sampler = samplers[step]
        fits = calls and calls[-1].sampler is sampler and step not in calls[-1].steps and step != "repetition_penalty"
        if fits and len(sampler.steps) > 1 and step not in SELECTORS:
            calls[-1] = Call(sampler, calls[-1].steps | {step})
        else:
            calls.append(Call(sampler, frozenset((step,))))
    return calls
