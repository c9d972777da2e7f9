"""`Sharing`: which newcomers wait for a prompt that begins like theirs and is being computed. Engine thread only."""

from __future__ import annotations

from collections.abc import Iterable

from publican.engine.memory import PrefixCache
from publican.engine.memory.agreement import common_length
from publican.engine.planned import is_kept
from publican.engine.sequence import Sequence


class Sharing:
    """Remembers how long the common beginnings are, for as long as both sequences are there.

    Args:
        min_shared: nobody waits for fewer common tokens.
    """

    def __init__(self, cache: PrefixCache, min_shared: int) -> None:
        self._cache = cache
        self._min_shared = min_shared
        self._shared: dict[tuple[Sequence, Sequence], int] = {}

    @property
    def knows_any(self) -> bool:
        """Whether somebody was compared with somebody, so that what was decided may change as prompts go on."""
        return bool(self._shared)

    def is_worth_waiting(self, sequence: Sequence, computing: Iterable[Sequence]) -> bool:
        """Whether a prompt that is being computed will leave more of ours in the cache than is there now."""
        if sequence.reads_whole_prompt or sequence.group.search is not None:
            return False
        for other in computing:
            if not is_kept(other):
                continue
            common = self._shared.get((sequence, other))
            if common is None:
                common = common_length(sequence.tokens, other.tokens) if other.adapter == sequence.adapter else 0
                self._shared[sequence, other] = common
            if common >= self._min_shared + max(other.num_computed, self._cache.match(sequence.tokens, sequence.adapter)):
                return True
        return False

    def forget(self, sequence: Sequence) -> None:
        """`sequence` does not run any more."""
        if self._shared:
            self._shared = {pair: n for pair, n in self._shared.items() if sequence not in pair}
