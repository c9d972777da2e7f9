"""Steps that look back at the text, by brute force."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.facts import Breakers
from publican.engine.sampling.reference.row import Known, Row


def _window(p: SamplingParams, known: Known) -> list[tuple[int, int, float]]:
    """(position, token, strength) of every token that the penalties count, oldest first."""
    size = len(known.tokens)
    sustain = p.repetition_penalty_range or size
    found = []
    for position, token in enumerate(known.tokens):
        distance = size - position
        beyond = distance - sustain - (1 if p.repetition_decay and p.repetition_decay_rule == "exllamav2" else 0)
        if beyond <= 0 and distance <= sustain + p.repetition_decay:
            found.append((position, token, 1.0))
        elif p.repetition_decay and distance <= sustain + p.repetition_decay and beyond < p.repetition_decay:
            found.append((position, token, 1.0 - beyond / p.repetition_decay))
    return found


def _sloped(p: SamplingParams, known: Known, position: int) -> float:
    """The repetition penalty of a token that stands last at `position`."""
    size = len(known.tokens)
    r, slope = p.repetition_penalty, p.repetition_penalty_slope
    if p.repetition_slope_rule == "koboldcpp":
        window = min(p.repetition_penalty_range or size, size)
        is_older = position - (size - window) < window // 2
        return 1.0 + (r - 1.0) * slope if is_older and r > 1.0 else r
    width = p.repetition_penalty_range or size
    if slope == 0.0 or width < 2 or slope == 1.0:
        return r
    x = 2.0 * (position - (size - width)) / (width - 1) - 1.0
    x = slope * x / (1.0 + abs(x) * (slope - 1.0))
    return 1.0 + (x + 1.0) / 2.0 * (r - 1.0)


def repetition_penalty(logits: Row, p: SamplingParams, known: Known) -> Row:
    out = logits.copy()
    latest = {token: (position, strength) for position, token, strength in _window(p, known)}
    for token, (position, strength) in latest.items():
        r, share = _sloped(p, known, position), 1.0
        if p.repetition_decay and p.repetition_decay_rule == "exllamav2":
            r = 1.0 + (p.repetition_penalty - 1.0) * strength
        elif p.repetition_decay:
            r, share = p.repetition_penalty, strength
        full = logits[token] / r if logits[token] > 0 else logits[token] * r
        if math.isfinite(full):
            out[token] = logits[token] + share * (full - logits[token])
    return out


def frequency_penalty(logits: Row, p: SamplingParams, known: Known) -> Row:
    out = logits.copy()
    for position, token, strength in _window(p, known):
        if p.penalty_scope == "context" or position >= known.num_prompt:
            out[token] -= p.frequency_penalty * strength
    return out


def presence_penalty(logits: Row, p: SamplingParams, known: Known) -> Row:
    out = logits.copy()
    latest = {
        token: strength
        for position, token, strength in _window(p, known)
        if p.penalty_scope == "context" or position >= known.num_prompt
    }
    for token, strength in latest.items():
        out[token] -= p.presence_penalty * strength
    return out


def dry_limit(window: Sequence[int], breakers: Breakers) -> int:
    """How far back from the end there is no breaker."""
    for offset in range(len(window)):
        token = window[-1 - offset]
        found = [0] if token in breakers.single else []
        for tail in breakers.tails.get(token, ()):
            after = tuple(window[len(window) - offset : len(window) - offset + len(tail)])
            if 0 < len(tail) <= offset and after == tail:
                found.append(len(tail))
        if found:
            return offset - max(found)
    return len(window)


def dry(logits: Row, p: SamplingParams, known: Known) -> Row:
    window = list(known.tokens[-p.dry_range :]) if p.dry_range else list(known.tokens)
    breakers = known.facts.breakers(p.dry_sequence_breakers)
    limit = dry_limit(window, breakers)
    too_near = limit <= p.dry_allowed_length if p.dry_rule == "koboldcpp" else limit < p.dry_allowed_length
    if len(window) <= p.dry_allowed_length or too_near:
        return logits
    limit = min(limit, p.dry_max_match or limit)
    longest: dict[int, int] = {}
    for j in range(len(window) - 1):
        length = 0
        while length < limit and length <= j and window[j - length] == window[-1 - length]:
            length += 1
        if length >= max(1, p.dry_allowed_length):
            longest[window[j + 1]] = max(length, longest.get(window[j + 1], 0))
    out = logits.copy()
    most = math.floor(88.7228391 / math.log(p.dry_base)) if p.dry_base > 1.000001 else math.inf
    for token, length in longest.items():
        if token not in breakers.single or p.dry_rule == "koboldcpp":
            out[token] -= min(p.dry_multiplier * p.dry_base ** min(length - p.dry_allowed_length, most), 3.0e38)
    return out


def _without_repeats(logits: Row, source: Sequence[int], text: Sequence[int], n: int) -> Row:
    out = logits.copy()
    prefix = list(text[len(text) - n + 1 :])
    if len(prefix) == n - 1:
        for i in range(len(source) - n + 1):
            if list(source[i : i + n - 1]) == prefix:
                out[source[i + n - 1]] = -np.inf
    return out if np.isfinite(out).any() else logits


def no_repeat_ngram(logits: Row, p: SamplingParams, known: Known) -> Row:
    return _without_repeats(logits, known.tokens, known.tokens, p.no_repeat_ngram_size)


def encoder_no_repeat_ngram(logits: Row, p: SamplingParams, known: Known) -> Row:
    return _without_repeats(logits, known.tokens[: known.num_prompt], known.tokens, p.encoder_no_repeat_ngram_size)


def encoder_repetition_penalty(logits: Row, p: SamplingParams, known: Known) -> Row:
    out = logits.copy()
    for token in set(known.tokens[: known.num_prompt]):
        e = p.encoder_repetition_penalty
        out[token] = logits[token] * e if logits[token] > 0 else logits[token] / e
    return out
