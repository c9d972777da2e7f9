"""What the short way must know of a row: its steps in order, with their values. See short.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from publican.core.sampling import SamplingParams
from publican.engine.sampling.temperature import factor_of

STEPS = frozenset(("temperature", "top_k", "top_p", "min_p"))


class Recipe(NamedTuple):
    """What one row wants: its steps in order, and whether ties and crossing tokens stay (see `SamplingParams`)."""

    steps: tuple[tuple[str, float], ...]
    keep_ties: bool
    exclusive: bool


def recipe_of(params: SamplingParams, steps: Sequence[str]) -> Recipe:
    values = {"top_k": params.top_k, "top_p": params.top_p, "min_p": params.min_p}
    scaled = ((step, factor_of(params) if step == "temperature" else values[step]) for step in steps)
    return Recipe(tuple(scaled), params.top_k_keep_ties, params.top_p_exclusive)
