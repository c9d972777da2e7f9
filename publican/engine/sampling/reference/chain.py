"""A row's whole way: masks and biases, the steps of its stack in order, the draw, and what feedback samplers make of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.reference import bans, cuts, lookback, shapes
from publican.engine.sampling.reference.row import Known, Row, descending, only_ids, softmax
from publican.engine.sampling.stack import BIAS_STEPS, stack_of

Step = Callable[[Row, SamplingParams, Known], Row]

_MODULES = (bans, lookback, shapes, cuts)


def step_named(name: str) -> Step:
    step: Step = next(getattr(module, name) for module in _MODULES if hasattr(module, name))
    return step


def before_draw(logits: Row, p: SamplingParams, known: Known) -> tuple[Row, Row]:
    """The row from which is drawn, and the one before adaptive-p bent it (else the same)."""
    out = bans.mask(shapes.guidance(logits.astype(np.float64), p, known), p, known)
    stack = stack_of(p)
    out = bans.allowed_tokens(out, p, known)
    out = bans.bias(out, p, known)
    out = bans.moving(out, p, known)
    unbent = out
    for name in stack:
        if name not in BIAS_STEPS:
            unbent = out
            out = step_named(name)(out, p, known)
    return out, unbent if stack and stack[-1] == "adaptive_p" else out


def process(logits: Row, p: SamplingParams, known: Known) -> Row:
    """The row from which is drawn; of a greedy one, the one token that there is to draw."""
    out = before_draw(logits, p, known)[0]
    return only_ids(out, descending(out)[:1]) if p.is_greedy else out


def choose(logits: Row, number: float) -> int:
    """The token on which `number` in [0, 1) falls, walking the tokens in order of their ids."""
    running = np.cumsum(softmax(logits))
    return int(np.searchsorted(running, min(number, 1.0 - 2.0**-52) * running[-1], side="right"))


def sample(logits: Row, p: SamplingParams, known: Known) -> int:
    """The next token; moves the state of feedback samplers as if it were taken."""
    out, unbent = before_draw(logits, p, known)
    if p.is_greedy:
        return int(descending(out)[0])
    token = choose(out, known.token_number)
    if p.mirostat_mode:
        mu = 2.0 * p.mirostat_tau if known.mu is None else known.mu
        surprise = -np.log2(softmax(out)[token])
        known.mu = float(mu - p.mirostat_eta * (surprise - p.mirostat_tau))
    elif p.adaptive_target is not None:
        rest = 1.0 - p.adaptive_decay
        weighted = p.adaptive_target / rest if known.weighted is None else known.weighted
        weight = 1.0 / rest if known.weight is None else known.weight
        known.weighted = float(softmax(unbent)[token] + p.adaptive_decay * weighted)
        known.weight = 1.0 + p.adaptive_decay * weight
    return token
