"""Classifier-free guidance (Sanchez et al. 2023): u + s · (c - u), the log probabilities c with and u without the prompt.

A token that only one of the two rules out keeps the conditional's value; -inf in both stays -inf.
"""

from __future__ import annotations

from publican.engine.sampling.arrays import Array
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.rows import Rows


def guided(passes: Passes, conditional: Array, unconditional: Array, scale: Array) -> Array:
    """Guided logits of [B, V] and [B, V]; `scale` is [B, 1]."""
    xp = passes.xp
    c, u = log_softmax(passes, conditional), log_softmax(passes, unconditional)
    both = (c > -xp.inf) & (u > -xp.inf)
    c_safe, u_safe = xp.where(both, c, xp.zeros_like(c)), xp.where(both, u, xp.zeros_like(u))
    return xp.where(both, u_safe + scale * (c_safe - u_safe), c)


def log_softmax(passes: Passes, logits: Array) -> Array:
    """Log probabilities, [B, V]."""
    rows = Rows(passes, logits)
    return rows.depths - passes.xp.astype(passes.xp.log(rows.total), logits.dtype)
