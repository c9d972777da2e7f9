"""Truncation, each step after the formula in section 4 of the sampler notes. A row in, a row with more -inf out."""

from __future__ import annotations

import math

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.reference.row import Known, Row, descending, entropy, num_left, only, only_ids, softmax


def top_k(logits: Row, p: SamplingParams, known: Known) -> Row:
    k = max(p.top_k, p.min_keep)
    if k >= len(logits):
        return logits
    order = descending(logits)
    return only(logits, logits >= logits[order[k - 1]]) if p.top_k_keep_ties else only_ids(logits, order[:k])


def top_p(logits: Row, p: SamplingParams, known: Known) -> Row:
    order = descending(logits)
    running = np.cumsum(softmax(logits)[order])
    if p.top_p_exclusive:
        count = int((running <= p.top_p).sum())
    else:
        before = np.concatenate(([0.0], running[:-1]))
        count = int((before < p.top_p).sum())
    return only_ids(logits, order[: max(1, count, p.min_keep)])


def at_least(logits: Row, p: SamplingParams, least: float) -> Row:
    """The tokens of at least this probability, the likeliest, and `min_keep` at any rate."""
    keep = (softmax(logits) >= least) | (logits == logits.max())
    keep[descending(logits)[: p.min_keep]] = True
    return only(logits, keep)


def min_p(logits: Row, p: SamplingParams, known: Known) -> Row:
    return at_least(logits, p, p.min_p * softmax(logits).max())


def adaptive_floor(logits: Row, p: SamplingParams, known: Known) -> Row:
    return at_least(logits, p, 0.002 * softmax(logits).max())


def top_a(logits: Row, p: SamplingParams, known: Known) -> Row:
    return at_least(logits, p, p.top_a * softmax(logits).max() ** 2)


def epsilon_cutoff(logits: Row, p: SamplingParams, known: Known) -> Row:
    return at_least(logits, p, p.epsilon_cutoff)


def eta_cutoff(logits: Row, p: SamplingParams, known: Known) -> Row:
    return at_least(logits, p, min(p.eta_cutoff, math.sqrt(p.eta_cutoff) * math.exp(-entropy(logits))))


def p_less(logits: Row, p: SamplingParams, known: Known) -> Row:
    return at_least(logits, p, float((softmax(logits) ** 2).sum()) - 1e-5)


def top_n_sigma(logits: Row, p: SamplingParams, known: Known) -> Row:
    left = logits[np.isfinite(logits)]
    sigma = math.sqrt(((left - left.mean()) ** 2).sum() / max(1, len(left) - p.top_n_sigma_sample))
    keep = logits >= logits.max() - p.top_n_sigma * sigma
    keep[descending(logits)[: p.min_keep]] = True
    return only(logits, keep)


def typical_p(logits: Row, p: SamplingParams, known: Known) -> Row:
    probabilities = softmax(logits)
    with np.errstate(divide="ignore"):
        strange = np.abs(-np.log(probabilities) - entropy(logits))
    order = np.argsort(strange, kind="stable")
    running = np.cumsum(probabilities[order])
    crossed = running <= p.typical_p if p.typical_rule == "strict" else running < p.typical_p
    last = min(max(int(crossed.sum()), p.min_keep - 1), len(logits) - 1)
    if p.typical_rule == "ties":
        return only(logits, strange <= strange[order[last]])
    count = last + 1 if p.typical_rule == "strict" else max(last, 1)
    return only_ids(logits, order[:count])


def tfs(logits: Row, p: SamplingParams, known: Known) -> Row:
    left = num_left(logits)
    if left <= 2:
        return logits
    order = descending(logits)[:left]
    sorted_p = softmax(logits)[order]
    bends = np.abs(sorted_p[:-2] - 2.0 * sorted_p[1:-1] + sorted_p[2:])
    share = bends / bends.sum() if bends.sum() > 1e-6 else np.full(left - 2, 1.0 / (left - 2))
    running = np.cumsum(share)
    if p.tfs_rule == "centred":
        count = 1 + int((running <= p.tfs).sum())
    else:
        count = next((i for i in range(1, left - 2) if running[i] > p.tfs), left)
    return only_ids(logits, order[: max(count, p.min_keep)])


def top_h(logits: Row, p: SamplingParams, known: Known) -> Row:
    order = descending(logits)[:100]
    shares = softmax(logits[order])
    parts = np.array([-x * math.log(x) if x > 0.0 else 0.0 for x in shares])
    count = int(((np.cumsum(parts) <= p.top_h * parts.sum()) & (shares > 0.0)).sum())
    return (
        only_ids(logits, order[: max(1, count)])
        if p.min_keep <= count
        else only_ids(logits, descending(logits)[: max(1, p.min_keep)])
    )


def xtc(logits: Row, p: SamplingParams, known: Known) -> Row:
    probabilities = softmax(logits)
    facts = known.facts
    protected = facts.protected if p.xtc_protect == "exclude" else frozenset()
    above = [i for i in descending(logits).tolist() if probabilities[i] >= p.xtc_threshold and i not in protected]
    going = above[:-1]
    if not going or num_left(logits) - len(going) < p.min_keep:
        return logits
    if p.xtc_protect == "abort" and set(going) & facts.newline_or_end:
        return logits
    out = logits.copy()
    if p.xtc_rule == "roll":
        if known.xtc_number < p.xtc_probability:
            out[going] = -np.inf
        return out
    mass = float(probabilities[going].sum())
    mixed = probabilities * (1.0 + p.xtc_probability * mass / (1.0 - mass))
    mixed[going] = probabilities[going] * (1.0 - p.xtc_probability)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(mixed))


def mirostat_2(logits: Row, p: SamplingParams, known: Known) -> Row:
    mu = 2.0 * p.mirostat_tau if known.mu is None else known.mu
    order = descending(logits)
    with np.errstate(divide="ignore"):
        surprise = -np.log2(softmax(logits)[order])
    return only_ids(logits, order[: max(1, int((surprise <= mu).sum()), p.min_keep)])


def mirostat_1(logits: Row, p: SamplingParams, known: Known) -> Row:
    mu = 2.0 * p.mirostat_tau if known.mu is None else known.mu
    size = len(logits)
    order = descending(logits)
    best = logits[order[: min(100, num_left(logits))]]
    if len(best) < 2:
        return only_ids(logits, order[: max(1, p.min_keep)])
    steps = np.log([(i + 2) / (i + 1) for i in range(len(best) - 1)])
    slope = float((steps * -np.diff(best)).sum() / (steps**2).sum())
    excess = slope - 1.0
    if abs(excess) < 1e-9:
        scale = 1.0 / math.log(size)
    else:
        scale = excess / (1.0 - size**-excess)
    log_count = (math.log(scale) + mu * math.log(2.0)) / max(slope, 1e-9)
    count = math.floor(math.exp(min(max(log_count, 0.0), math.log(size + 1.0))))
    return only_ids(logits, order[: max(1, count, p.min_keep)])
