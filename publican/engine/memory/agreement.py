"""How far two lists of tokens agree."""

from __future__ import annotations

from collections.abc import Sequence

from publican.core.ids import TokenId


def common_length(a: Sequence[TokenId], b: Sequence[TokenId], limit: int | None = None) -> int:
    """How many of the first `limit` tokens agree. Compares slices, which C does faster than a loop here would."""
    high = min(len(a), len(b)) if limit is None else min(len(a), len(b), limit)
    if high <= 0 or a[0] != b[0]:
        return 0
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
