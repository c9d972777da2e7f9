"""`Marks`: a fixed set of strings to find in a text that still grows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Met(NamedTuple):
    at: int
    mark: str


class Marks:
    """Finds the mark that begins first, the longest of those. Immutable.

    No mark may begin with another one, or hold one before its own end (`check`): then what is found would depend on where
    the text was cut.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self.strings = tuple(dict.fromkeys(filter(None, strings)))
        longest_first = sorted(self.strings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._beginnings = frozenset(s[:n] for s in self.strings for n in range(1, len(s)))
        self._longest = max(map(len, self.strings), default=0)

    def check(self) -> None:
        """Quadratic, so for tests."""
        assert not any(a != b and a in b and not b.endswith(a) for a in self.strings for b in self.strings)

    def find(self, text: str, start: int = 0) -> Met | None:
        met = self._pattern.search(text, start)
        return Met(met.start(), met.group()) if met else None

    def match(self, text: str, at: int) -> str:
        """The mark that stands at `at`; empty for none."""
        met = self._pattern.match(text, at)
        return met.group() if met else ""

    def may_begin(self, text: str, at: int) -> bool:
        """Whether `text` ends before one can tell if a mark stands at `at`."""
        return len(text) - at < self._longest and (at >= len(text) or text[at:] in self._beginnings)

    def num_undecided(self, text: str, start: int = 0) -> int:
        """How many characters at the end of `text` (from `start` on) are the beginning of some mark."""
        for num in range(min(self._longest - 1, len(text) - start), 0, -1):
            if text[len(text) - num :] in self._beginnings:
                return num
        return 0
