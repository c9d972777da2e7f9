"""Masks, biases and bans. What would leave nothing of a row is not done."""

from __future__ import annotations

import math

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.reference.row import Known, Row, only


def _unless_empty(changed: Row, logits: Row) -> Row:
    return changed if np.isfinite(changed).any() else logits


def mask(logits: Row, p: SamplingParams, known: Known) -> Row:
    out = logits
    if known.allowed is not None:
        out = _unless_empty(only(out, np.isin(np.arange(len(out)), sorted(known.allowed))), out)
    banned = [token for token in known.banned if 0 <= token < len(out)]
    return _added(out, dict.fromkeys(banned, -math.inf))


def _added(logits: Row, amounts: dict[int, float]) -> Row:
    """Where bans would leave nothing, nothing of `amounts` is added."""
    out = logits.copy()
    for token, amount in amounts.items():
        if token < len(out):
            out[token] += amount
    return _unless_empty(out, logits)


def allowed_tokens(logits: Row, p: SamplingParams, known: Known) -> Row:
    inside = [token for token in p.allowed_tokens if token < len(logits)]
    return _unless_empty(only(logits, np.isin(np.arange(len(logits)), inside)), logits) if inside else logits


def bias(logits: Row, p: SamplingParams, known: Known) -> Row:
    amounts: dict[int, float] = dict(p.logit_bias)
    amounts |= dict.fromkeys(p.banned_tokens, -math.inf)
    if p.ban_eos_token:
        amounts |= dict.fromkeys(known.facts.end, -math.inf)
    return _added(logits, amounts)


def moving(logits: Row, p: SamplingParams, known: Known) -> Row:
    """What depends on how far the answer is."""
    amounts: dict[int, float] = {}
    generated = len(known.tokens) - known.num_prompt
    if p.exponential_decay_length_penalty:
        start, factor = p.exponential_decay_length_penalty
        for token in known.facts.end if generated > start else ():
            if math.isfinite(logits[token]):
                amounts[token] = abs(logits[token]) * (min(factor ** (generated - start), 1e30) - 1.0)
    for run, value in p.sequence_bias:
        prefix = run[:-1]
        if len(prefix) <= len(known.tokens) and (not prefix or tuple(known.tokens[-len(prefix) :]) == prefix):
            amounts[run[-1]] = amounts.get(run[-1], 0.0) + value
    if generated < p.min_tokens:
        amounts |= dict.fromkeys((*known.facts.end, *known.stop_ids), -math.inf)
    return _added(logits, amounts)
