"""Embeddings' vectors. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from publican.core.errors import InvalidParameter


def shortened(vector: Sequence[float], dimensions: int | None) -> list[float]:
    """The first `dimensions` numbers, brought back to length 1. Raises InvalidParameter where there are fewer."""
    if dimensions is None:
        return list(vector)
    if dimensions > len(vector):
        raise InvalidParameter("dimensions", f"must be at most {len(vector)}, which is what this model has.")
    head = list(vector[:dimensions])
    length = math.sqrt(sum(number * number for number in head)) or 1.0
    return [number / length for number in head]
