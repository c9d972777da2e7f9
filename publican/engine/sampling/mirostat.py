"""Mirostat 1 and 2 (Basu et al. 2020): a cut that follows μ, and a μ that follows the surprise of what was drawn.

v2 keeps tokens whose surprise, -log₂ p, is at most μ. v1 estimates the slope of the distribution from its hundred likeliest
tokens and keeps the top k that should give the surprise μ. Both then move μ by η · (surprise - τ); μ begins at 2 τ.
"""

from __future__ import annotations

import math

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Array
from publican.engine.sampling.batch import Batch, Column
from publican.engine.sampling.draw import Drawn
from publican.engine.sampling.feedback import Trail
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.state import RowState

_POOL = 100
_OFF = 1e9


class Mirostat:
    steps = ("mirostat_1", "mirostat_2")

    def __init__(self) -> None:
        self._version = Column(0.0)
        self._tau = Column(0.0)
        self._eta = Column(0.0)

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        self._version.set(row, params.mirostat_mode if stack & set(self.steps) else 0.0)
        self._tau.set(row, params.mirostat_tau)
        self._eta.set(row, params.mirostat_eta)

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        version = self._version.take(batch.rows)
        mu = np.array([[_mu(state) if on else _OFF] for state, on in zip(batch.states, version[:, 0], strict=True)])
        if "mirostat_1" in steps:
            _cut_to_slope(rows, rows.space.put(mu), rows.space.put(version == 1.0))
        if "mirostat_2" in steps:
            _cut_to_surprise(rows, rows.space.put(np.where(version == 2.0, mu, _OFF)))

    def accept(self, rows: Rows, batch: Batch, drawn: Drawn) -> None:
        """Offer each row the μ that follows from its drawn token."""
        xp = rows.xp
        weight = rows.space.pick(rows.weights, drawn.columns)
        surprise = rows.space.get((xp.log(rows.total) - xp.log(xp.astype(weight, xp.float64))) / math.log(2.0))
        tokens = rows.space.get(drawn.tokens)
        tau, eta, version = self._tau.take(batch.rows), self._eta.take(batch.rows), self._version.take(batch.rows)
        for i in np.flatnonzero(version[:, 0]).tolist():
            state = batch.states[i]
            mu = _mu(state) - eta[i, 0] * (surprise[i, 0] - tau[i, 0])
            state.trails["mirostat"].offer(len(state.tokens), int(tokens[i, 0]), (float(mu),))


def _mu(state: RowState) -> float:
    trail = state.trails.get("mirostat")
    if trail is None:
        trail = state.trails["mirostat"] = Trail((2.0 * state.params.mirostat_tau,))
    return trail.settle(state.tokens)[0]


def _cut_to_surprise(rows: Rows, mu: Array) -> None:
    xp = rows.xp
    least = 2.0**-mu
    hopeless = least * rows.total > 1.0
    rows.keep_probability(least)
    if bool(xp.any(hopeless)):
        one = xp.ones(hopeless.shape, dtype=xp.int64, device=rows.space.device)
        rows.keep_best(xp.where(hopeless, one, one * rows.num_vocab))


def _cut_to_slope(rows: Rows, mu: Array, on: Array) -> None:
    xp = rows.xp
    best = xp.astype(rows.best(_POOL), xp.float64)
    ranks = xp.astype(xp.arange(best.shape[1] - 1, device=rows.space.device), xp.float64)
    steps = xp.reshape(xp.log((ranks + 2.0) / (ranks + 1.0)), (1, -1))
    is_in = best[:, 1:] > -xp.inf
    zero = xp.zeros_like(best[:, 1:])
    drops = xp.where(is_in, best[:, :-1], zero) - xp.where(is_in, best[:, 1:], zero)
    squares = xp.sum(xp.where(is_in, steps * steps, zero), axis=-1, keepdims=True)
    slope = xp.sum(steps * drops, axis=-1, keepdims=True) / xp.where(squares > 0.0, squares, xp.ones_like(squares))
    log_size = math.log(rows.num_vocab)
    excess = slope - 1.0
    straight = xp.abs(excess) < 1e-9
    safe = xp.where(straight, xp.ones_like(excess), excess)
    # ln of excess / (1 - V^-excess), whose limit at an excess of 0 is 1 / ln V
    scale = xp.where(straight, 1.0 / log_size, safe / -xp.expm1(-safe * log_size))
    log_count = (xp.log(scale) + mu * math.log(2.0)) / xp.maximum(slope, xp.full_like(slope, 1e-9))
    most = math.log(rows.num_vocab + 1.0)
    log_count = xp.minimum(xp.maximum(log_count, xp.zeros_like(log_count)), xp.full_like(log_count, most))
    count = xp.astype(xp.floor(xp.exp(log_count)), xp.int64)
    count = xp.where(squares > 0.0, count, xp.ones_like(count))
    rows.keep_best(xp.where(on, count, xp.full_like(count, rows.num_vocab)))
