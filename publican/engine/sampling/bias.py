"""Biases and bans, first in every stack: single tokens, runs of tokens, allowed tokens, ends that are not wanted yet.

Sections 4.24 and 4.27 of the sampler notes. What does not change while a row lives is put together once per group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Array, Host
from publican.engine.sampling.batch import Batch
from publican.engine.sampling.masks import add_to_rows
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.stack import BIAS_STEPS
from publican.engine.sampling.state import RowState

_Runs = dict[int, list[tuple[tuple[int, ...], int, float]]]


class Bias:
    steps = BIAS_STEPS

    def __init__(self) -> None:
        self._stacks: dict[int, frozenset[str]] = {}
        self._runs: dict[int, _Runs] = {}

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._stacks[row] = stack & set(self.steps)
        self._runs[row] = _runs(params)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        if "allowed_tokens" in steps:
            which, barriers = batch.keep("allowed_tokens", lambda: self._barriers(rows, batch))
            if which:
                add_to_rows(rows, which, barriers)
        if "bias" in steps:
            rows.shift(*batch.keep("bias", lambda: self._constant(rows, batch)))
        moving = steps - {"allowed_tokens", "bias"}
        if moving:
            edits = [self._moving(rows, batch, i, moving) for i in range(len(batch.states))]
            if any(edits):
                rows.shift(*_flat(rows, edits))

    def _barriers(self, rows: Rows, batch: Batch) -> tuple[list[int], Array]:
        """The rows that allow only some tokens, and 0 for these and -inf for all others: [n, V]."""
        which: list[int] = []
        barriers: list[Host] = []
        for i, state in enumerate(batch.states):
            allowed = [token for token in state.params.allowed_tokens if token < rows.num_vocab]
            if allowed:
                barrier = np.full(rows.num_vocab, -math.inf)
                barrier[allowed] = 0.0
                which.append(i)
                barriers.append(barrier)
        return which, rows.space.put(np.stack(barriers), rows.logits.dtype) if barriers else None

    def _constant(self, rows: Rows, batch: Batch) -> tuple[Array, Array, Array]:
        edits: list[dict[int, float]] = []
        for row, state in zip(batch.rows.tolist(), batch.states, strict=True):
            params = state.params
            edit: dict[int, float] = {}
            if "bias" in self._stacks[row]:
                edit.update(params.logit_bias)
                edit.update(dict.fromkeys(params.banned_tokens, -math.inf))
                edit.update(dict.fromkeys(batch.facts.end if params.ban_eos_token else (), -math.inf))
            edits.append({token: value for token, value in edit.items() if token < rows.num_vocab})
        return _flat(rows, edits)

    def _moving(self, rows: Rows, batch: Batch, i: int, steps: frozenset[str]) -> dict[int, float]:
        state, row = batch.states[i], int(batch.rows[i])
        steps = steps & self._stacks[row]
        edit: dict[int, float] = {}
        if "length_decay" in steps:
            edit.update(_hastened(rows, i, state, batch.facts.end))
        if "sequence_bias" in steps:
            _add_runs(edit, self._runs[row], state)
        if "early_end" in steps and state.num_generated < state.params.min_tokens:
            edit.update(dict.fromkeys((*batch.facts.end, *state.stop_ids), -math.inf))
        return {token: value for token, value in edit.items() if token < rows.num_vocab}


def _flat(rows: Rows, edits: list[dict[int, float]]) -> tuple[Array, Array, Array]:
    which = np.repeat(np.arange(len(edits)), [len(edit) for edit in edits])
    tokens = np.array([token for edit in edits for token in edit], dtype=np.int64)
    amounts: Host = np.array([value for edit in edits for value in edit.values()], dtype=np.float64)
    put = rows.space.put
    return put(which), put(tokens), put(amounts, rows.logits.dtype)


def _runs(params: SamplingParams) -> _Runs:
    """The runs by the last token that must stand before; by -1 those of one token."""
    runs: _Runs = {}
    for tokens, bias in params.sequence_bias:
        runs.setdefault(tokens[-2] if len(tokens) > 1 else -1, []).append((tokens[:-1], tokens[-1], bias))
    return runs


def _add_runs(edit: dict[int, float], runs: Mapping[int, list[tuple[tuple[int, ...], int, float]]], state: RowState) -> None:
    last = state.tokens[-1] if state.tokens else -2
    for prefix, token, bias in (*runs.get(-1, ()), *runs.get(last, ())):
        if not prefix or tuple(state.tokens[-len(prefix) :]) == prefix:
            edit[token] = edit.get(token, 0.0) + bias


def _hastened(rows: Rows, i: int, state: RowState, end: tuple[int, ...]) -> dict[int, float]:
    """What is added to the ends' logits l once more than `start` tokens are there: |l| · (factor^(n - start) - 1)."""
    start, factor = state.params.exponential_decay_length_penalty
    over = state.num_generated - start
    if over <= 0 or not end:
        return {}
    which = rows.space.put(np.full(len(end), i))
    logits = rows.space.get(rows.at(which, rows.space.put(np.array(end, dtype=np.int64)))).tolist()
    growth = min(factor**over, 1e30) - 1.0
    return {token: abs(logit) * growth for token, logit in zip(end, logits, strict=True) if math.isfinite(logit)}
