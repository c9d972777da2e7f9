"""What a row knows beside its logits, and the distribution that logits are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from publican.engine.sampling.facts import VocabularyFacts

Row = NDArray[np.float64]


@dataclass(slots=True)
class Known:
    """Everything that may matter for the next token of one row.

    Attributes:
        tokens: prompt and answer so far, of which the first `num_prompt` are the prompt.
        xtc_number, token_number: uniform in [0, 1).
        mu: mirostat's state; weighted, weight: adaptive-p's.
        allowed: None for all tokens; banned: this time.
        unconditional: the logits without the prompt.
    """

    tokens: Sequence[int] = ()
    num_prompt: int = 0
    stop_ids: tuple[int, ...] = ()
    facts: VocabularyFacts = field(default_factory=lambda: VocabularyFacts(None))
    xtc_number: float = 0.0
    token_number: float = 0.0
    mu: float | None = None
    weighted: float | None = None
    weight: float | None = None
    allowed: frozenset[int] | None = None
    banned: tuple[int, ...] = ()
    unconditional: Row | None = None


def softmax(logits: Row) -> Row:
    """Probabilities; -inf has none."""
    weights = np.exp(logits - logits.max())
    result: Row = weights / weights.sum()
    return result


def log_softmax(logits: Row) -> Row:
    shifted = logits - logits.max()
    result: Row = shifted - np.log(np.exp(shifted).sum())
    return result


def entropy(logits: Row) -> float:
    """In nats."""
    p = softmax(logits)
    p = p[p > 0.0]
    return float(-(p * np.log(p)).sum())


def descending(logits: Row) -> NDArray[np.int64]:
    """Token ids, likeliest first; of equals the lowest id."""
    return np.argsort(-logits, kind="stable")


def num_left(logits: Row) -> int:
    return int(np.isfinite(logits).sum())


def only(logits: Row, keep: NDArray[np.bool_]) -> Row:
    """-inf wherever `keep` is false."""
    return np.where(keep, logits, -np.inf)


def only_ids(logits: Row, ids: NDArray[np.int64]) -> Row:
    keep = np.zeros(len(logits), dtype=bool)
    keep[ids] = True
    return only(logits, keep)
