"""The plain twin of the pipeline: one row, float64, one obvious function after the other.

Tests compare the pipeline with this; nothing else uses it. Order and formulas are those of the house's sampler notes:
bias → penalties → temperature → top_k → top_p → min_p → draw in order of token ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from publican.core.sampling import SamplingParams

Row = NDArray[np.float64]


def softmax(logits: Row) -> Row:
    weights = np.exp(logits - logits.max())
    result: Row = weights / weights.sum()
    return result


def add_bias(logits: Row, params: SamplingParams) -> Row:
    out = logits.copy()
    for token, bias in params.logit_bias:
        out[token] += bias
    return out


def penalise(logits: Row, params: SamplingParams, tokens: Sequence[int]) -> Row:
    """Repetition, then frequency and presence, over the last `repetition_penalty_range` tokens (0: all)."""
    window = tokens[-params.repetition_penalty_range :] if params.repetition_penalty_range else tokens
    out = logits.copy()
    for token, count in Counter(window).items():
        value = out[token]
        value = value / params.repetition_penalty if value > 0 else value * params.repetition_penalty
        out[token] = value - params.frequency_penalty * count - params.presence_penalty
    return out


def keep_top_k(logits: Row, k: int) -> Row:
    """Exactly k; the lower token id wins a tie."""
    if k <= 0 or k >= len(logits):
        return logits
    order = np.argsort(-logits, kind="stable")
    out = np.full_like(logits, -np.inf)
    out[order[:k]] = logits[order[:k]]
    return out


def keep_top_p(logits: Row, p: float) -> Row:
    """A token stays if the mass of those before it is below p; the likeliest always stays."""
    if p >= 1.0:
        return logits
    order = np.argsort(-logits, kind="stable")
    weights = softmax(logits)[order]
    before = np.concatenate(([0.0], np.cumsum(weights)[:-1]))
    keep = before < p
    keep[0] = True
    out = np.full_like(logits, -np.inf)
    out[order[keep]] = logits[order[keep]]
    return out


def keep_min_p(logits: Row, share: float) -> Row:
    if share <= 0.0:
        return logits
    weights = softmax(logits)
    return np.where((weights >= share * weights.max()) | (logits == logits.max()), logits, -np.inf)


def process(logits: Row, params: SamplingParams, tokens: Sequence[int]) -> Row:
    """Everything up to the draw. `tokens` are the prompt and what was generated so far."""
    out = penalise(add_bias(logits.astype(np.float64), params), params, tokens)
    if params.is_greedy:
        return out
    if params.temperature != 1.0:
        out = out / params.temperature
    return keep_min_p(keep_top_p(keep_top_k(out, params.top_k), params.top_p), params.min_p)


def choose(logits: Row, params: SamplingParams, number: float) -> int:
    """The token that `number` in [0, 1) falls on, walking the tokens in order of their ids."""
    if params.is_greedy:
        return int(np.argmax(logits))
    total = np.cumsum(softmax(logits))
    return int(np.searchsorted(total, number * total[-1], side="right"))


def log_softmax(logits: Row) -> Row:
    shifted = logits - logits.max()
    result: Row = shifted - np.log(np.exp(shifted).sum())
    return result
