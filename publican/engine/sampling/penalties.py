"""Repetition, presence and frequency penalty. Host work per step: the distinct tokens of the window.

Repetition divides positive logits by r and multiplies negative ones, once per distinct token; then frequency · count and
presence are subtracted. Variants: the older half of the window gets less (KoboldCpp), the penalty ramps up over the window
(KoboldAI), or it fades out beyond the window (ExLlama). Formulas: sections 4.17 and 4.18 of the sampler notes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Host
from publican.engine.sampling.batch import Batch
from publican.engine.sampling.history import Counts
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.state import RowState


class _Edit(NamedTuple):
    """What one row's penalties do to some tokens: divide, subtract, and how much of the division counts (None: all)."""

    tokens: Host
    divisor: Host | float
    subtrahend: Host | float
    share: Host | None


class Penalties:
    steps = ("repetition_penalty", "frequency_penalty", "presence_penalty")

    def __init__(self) -> None:
        self._stacks: dict[int, frozenset[str]] = {}

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._stacks[row] = stack & set(self.steps)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        edits: list[_Edit] = []
        owners: list[int] = []
        for i, (row, state) in enumerate(zip(batch.rows.tolist(), batch.states, strict=True)):
            on = self._stacks[row] & steps
            if on:
                edits.append(_edit(state, on))
                owners.append(i)
        if not edits:
            return
        if rows.is_plain_host and all(edit.share is None for edit in edits):
            for i, edit in zip(owners, edits, strict=True):
                _edit_row(rows.logits[i], edit)
            rows.changed()
        else:
            _edit_rows(rows, owners, edits)


def _edit_row(logits: Host, edit: _Edit) -> None:
    """As `_edit_rows`, for one row of NumPy: a third of the calls."""
    kind = logits.dtype.type
    before = logits[edit.tokens]
    if isinstance(edit.divisor, float):
        divisor: Any = kind(edit.divisor)
    else:
        divisor = edit.divisor.astype(kind)
    divided = np.where(before > 0.0, before / divisor, before * divisor)
    if not isinstance(edit.subtrahend, float):
        divided -= edit.subtrahend.astype(kind)
    logits[edit.tokens] = divided


def _edit_rows(rows: Rows, owners: list[int], edits: list[_Edit]) -> None:
    xp, space = rows.xp, rows.space
    dtype = rows.logits.dtype
    which = np.repeat(owners, [len(edit.tokens) for edit in edits])
    at_rows, columns, found = rows.find(space.put(which), space.put(_joined([e.tokens for e in edits])))
    divisor = space.put(_joined([_spread(e.divisor, e) for e in edits]), dtype)
    subtrahend = space.put(_joined([_spread(e.subtrahend, e) for e in edits]), dtype)
    if found is not None:
        divisor, subtrahend = divisor[found], subtrahend[found]
    logits = rows.at(at_rows, columns)
    divided = xp.where(logits > 0.0, logits / divisor, logits * divisor)
    if any(e.share is not None for e in edits):
        share = space.put(_joined([np.ones(len(e.tokens)) if e.share is None else e.share for e in edits]), dtype)
        share = share if found is None else share[found]
        zero = xp.zeros_like(logits)
        moved = xp.where(divided > -xp.inf, divided, zero) - xp.where(logits > -xp.inf, logits, zero)
        divided = xp.where((share < 1.0) & (logits > -xp.inf), logits + share * moved, divided)
    rows.set(at_rows, columns, divided - subtrahend)


def _spread(value: Host | float, edit: _Edit) -> Host:
    return np.full(len(edit.tokens), value) if isinstance(value, float) else value


def _joined(parts: list[Host]) -> Host:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _edit(state: RowState, steps: frozenset[str]) -> _Edit:
    params = state.params
    counts = _counts(state)
    size = counts.num_slots
    tokens, total = counts.tokens[:size], counts.total[:size]
    generated = counts.generated[:size]
    if counts.has_window:
        there = total > 0
        tokens, total, generated = tokens[there], total[there], generated[there]
    counted = generated if params.penalty_scope == "generated" else total
    penalty = params.repetition_penalty if "repetition_penalty" in steps else 1.0
    presence = params.presence_penalty if "presence_penalty" in steps else 0.0
    frequency = params.frequency_penalty if "frequency_penalty" in steps else 0.0
    if params.repetition_decay:
        return _faded(counts, params, penalty, presence, frequency)
    divisor: Host | float = penalty
    if penalty != 1.0 and params.repetition_penalty_slope != 1.0:
        last = counts.last[:size][there] if counts.has_window else counts.last[:size]
        divisor = _sloped(state, last, penalty)
    subtrahend = frequency * counted + presence * (counted > 0) if frequency or presence else 0.0
    return _Edit(tokens, divisor, subtrahend, None)


def _counts(state: RowState) -> Counts:
    """The counts of the row's window, caught up with its tokens; kept by the row, for all of its penalties."""
    history = state.synced()
    if state.counts is None:
        params = state.params
        window = params.repetition_penalty_range
        state.counts = Counts(history, state.num_prompt, window + params.repetition_decay if window else 0)
    else:
        state.counts.sync()
    return state.counts


def _sloped(state: RowState, last: Host, penalty: float) -> Host:
    """The penalty of tokens whose last occurrence in the window is at `last`."""
    params = state.params
    size = len(state.tokens)
    window = min(params.repetition_penalty_range or size, size)
    slope = params.repetition_penalty_slope
    if params.repetition_slope_rule == "koboldcpp":
        older = last - (size - window) < window // 2
        reduced = 1.0 + (penalty - 1.0) * slope if penalty > 1.0 else penalty
        return np.where(older, reduced, penalty)
    width = params.repetition_penalty_range or size
    if slope == 0.0 or width < 2:
        return np.full(len(last), penalty)
    x = 2.0 * (last - (size - width)) / (width - 1) - 1.0
    x = slope * x / (1.0 + np.abs(x) * (slope - 1.0))
    return np.asarray(1.0 + (x + 1.0) / 2.0 * (penalty - 1.0))


def _faded(counts: Counts, params: SamplingParams, penalty: float, presence: float, frequency: float) -> _Edit:
    """With a decay: full strength over the range, then less and less."""
    size, start = counts.size, counts.start
    sustain = params.repetition_penalty_range or size
    positions = np.arange(start, size)
    beyond = (size - positions - sustain) - (params.repetition_decay_rule == "exllamav2")
    strength = np.clip(1.0 - np.maximum(beyond, 0) / params.repetition_decay, 0.0, 1.0)
    slots = counts.slot_of[start:size]
    is_counted = positions >= counts.num_prompt if params.penalty_scope == "generated" else np.ones(len(positions), dtype=bool)
    num_slots = counts.num_slots
    amount = np.bincount(slots, weights=strength * is_counted, minlength=num_slots)
    latest = np.zeros(num_slots)
    latest[slots] = strength  # of equals the last, and so the strongest, stays
    present = np.zeros(num_slots)
    present[slots[is_counted]] = strength[is_counted]
    subtrahend = frequency * amount + presence * present
    tokens = counts.tokens[:num_slots]
    if params.repetition_decay_rule == "exllamav2":
        return _Edit(tokens, 1.0 + (penalty - 1.0) * latest, subtrahend, None)
    return _Edit(tokens, np.full(num_slots, penalty), subtrahend, latest)
