"""Embeddings' vectors. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from publican.core.errors import InvalidParameter


def normalised(vector: Sequence[float], norm: int) -> list[float]:
    """`vector` divided as llama.cpp's ``embd_normalize`` says: -1 as it is; 0 by its largest number, which becomes 32760; from
    1 on by its p-norm, of which 2 is the length."""
    if norm < 0:
        return list(vector)
    if norm == 0:
        length = max(map(abs, vector), default=0.0) / 32_760
    else:
        largest = max(map(abs, vector), default=0.0) or 1.0  # a high power of it would be no number
        length = largest * sum((abs(number) / largest) ** norm for number in vector) ** (1 / norm)
    return [number / (length or 1.0) for number in vector]


def shortened(vector: Sequence[float], dimensions: int | None = None) -> list[float]:
    """The first `dimensions` numbers (None: all), brought to length 1. Raises InvalidParameter where there are fewer."""
    if dimensions is not None and dimensions > len(vector):
        raise InvalidParameter("dimensions", f"must be at most {len(vector)}, which is what this model has.")
    head = list(vector[:dimensions])
    length = math.sqrt(sum(number * number for number in head)) or 1.0
    return [number / length for number in head]
