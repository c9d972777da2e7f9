"""Steps that bend a distribution without cutting it."""

from __future__ import annotations

import math

import numpy as np

from publican.core.sampling import GREEDY_BELOW, SamplingParams
from publican.engine.sampling.reference.row import Known, Row, descending, entropy, log_softmax, num_left, only_ids, softmax


def guidance(logits: Row, p: SamplingParams, known: Known) -> Row:
    if known.unconditional is None or p.guidance_scale == 1.0:
        return logits
    c, u = log_softmax(logits), log_softmax(known.unconditional)
    out = c.copy()
    both = np.isfinite(c) & np.isfinite(u)
    out[both] = u[both] + p.guidance_scale * (c[both] - u[both])
    return out


def temperature(logits: Row, p: SamplingParams, known: Known) -> Row:
    return logits / p.temperature


def dynamic_temperature(logits: Row, p: SamplingParams, known: Known) -> Row:
    assert p.dynatemp_bounds is not None
    low, high = p.dynatemp_bounds
    left = num_left(logits)
    if left <= 1:
        return logits
    share = min(max(entropy(logits) / math.log(left), 0.0), 1.0)
    effective = low + (high - low) * share**p.dynatemp_exponent
    return only_ids(logits, descending(logits)[:1]) if effective <= GREEDY_BELOW else logits / effective


def quadratic_sampling(logits: Row, p: SamplingParams, known: Known) -> Row:
    top = logits.max()
    left = np.isfinite(logits)
    d = logits[left] - top
    k, s = (3.0 - p.smoothing_curve) / 2.0, (p.smoothing_curve - 1.0) / 2.0
    out = logits.copy()
    out[left] = top - k * p.smoothing_factor * d**2 + s * p.smoothing_factor * d**3
    return out


def skew(logits: Row, p: SamplingParams, known: Known) -> Row:
    order = descending(logits)
    weights = softmax(logits)[order]
    running = np.cumsum(weights)
    x = math.exp(p.skew)
    out = np.full_like(logits, -np.inf)
    with np.errstate(divide="ignore"):
        # the difference of neighbours in running**x, written so that it does not drown in rounding
        difference = -np.expm1(x * np.log1p(-weights / running))
        difference[0] = 1.0
        out[order] = x * np.log(running / running[-1]) + np.log(difference)
    return out


def adaptive_p(logits: Row, p: SamplingParams, known: Known) -> Row:
    target = p.adaptive_target or 0.0
    rest = 1.0 - p.adaptive_decay
    weighted = target / rest if known.weighted is None else known.weighted
    weight = 1.0 / rest if known.weight is None else known.weight
    aim = target if weight == 0.0 else min(max(2.0 * target - weighted / weight, 0.0), 1.0)
    delta = np.abs(softmax(logits) - aim) / 0.3
    return np.where(np.isfinite(logits), 5.0 - 10.0 * delta**2 / (1.0 + delta), -np.inf)
