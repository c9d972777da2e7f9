"""What a row's samplers remember of its tokens: kept up token by token, and rebuilt after a rewind. Engine thread only, NumPy.

`History` is the tokens as an array. `Counts` is which tokens stand in the window of the penalties, how often, and where last.
Appending a token costs the same however long the context is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from publican.engine.sampling.arrays import Host

_REBUILD_FROM = 64
"""As many new tokens as this are faster counted anew."""


def _grown(array: Host, size: int) -> Host:
    """`array`, or one twice as long that begins with it, so that `size` items fit."""
    if size <= len(array):
        return array
    larger = np.zeros(max(2 * len(array), size, 64), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


class History:
    """The tokens of one row, prompt first."""

    def __init__(self) -> None:
        self._tokens = np.zeros(0, dtype=np.int64)
        self.size = 0

    def __getitem__(self, where: slice) -> Host:
        return self._tokens[: self.size][where]

    def extend(self, tokens: Sequence[int]) -> None:
        size = self.size + len(tokens)
        self._tokens = _grown(self._tokens, size)
        self._tokens[self.size : size] = tokens
        self.size = size

    def rewind(self, size: int) -> None:
        self.size = min(self.size, size)


class Counts:
    """How often each token stands in the last `window` tokens (0: all), and how often of these it was generated.

    Each token that was ever in the window has a slot; slots of tokens that left it have a count of 0.

    Attributes:
        tokens: the token of each slot; its place in `total`, `generated` and `last` (the position where it stands last).
        slot_of: the slot of each position.
    """

    def __init__(self, history: History, num_prompt: int, window: int) -> None:
        self._history = history
        self.num_prompt = num_prompt
        self._window = window
        self._rebuild()

    @property
    def num_slots(self) -> int:
        return len(self._slots)

    @property
    def size(self) -> int:
        """How many tokens have been counted, those that left the window too."""
        return self._seen

    @property
    def has_window(self) -> bool:
        return self._window > 0

    def sync(self) -> None:
        """Catch up with the history."""
        if self._history.size - self._seen > _REBUILD_FROM:
            self._rebuild()
        else:
            for token in self._history[self._seen :].tolist():
                self._append(token)

    def _rebuild(self) -> None:
        history = self._history
        size = history.size
        self._seen = size
        self.start = max(0, size - self._window) if self._window else 0
        window = history[self.start :]
        tokens, slots = np.unique(window, return_inverse=True)
        num_slots = len(tokens)
        self._slots = dict(zip(tokens.tolist(), range(num_slots), strict=True))
        self.tokens = _grown(tokens, num_slots)
        positions = np.arange(self.start, size)
        self.total = np.bincount(slots, minlength=num_slots)
        self.generated = np.bincount(slots[positions >= self.num_prompt], minlength=num_slots)
        self.last = np.zeros(num_slots, dtype=np.int64)
        self.last[slots] = positions  # of equals the last one stays
        self.slot_of = np.zeros(max(size, 64), dtype=np.int64)
        self.slot_of[self.start : size] = slots

    def _append(self, token: int) -> None:
        position = self._seen
        slot = self._slots.get(token)
        if slot is None:
            slot = self._slots[token] = len(self._slots)
            if slot >= len(self.tokens):
                self.tokens, self.total, self.generated, self.last = (
                    _grown(array, slot + 1) for array in (self.tokens, self.total, self.generated, self.last)
                )
            self.tokens[slot] = token
        self.slot_of = _grown(self.slot_of, position + 1)
        self.slot_of[position] = slot
        self.total[slot] += 1
        self.generated[slot] += position >= self.num_prompt
        self.last[slot] = position
        self._seen = position + 1
        if self._window and self._seen - self.start > self._window:
            leaving = self.slot_of[self.start]
            self.total[leaving] -= 1
            self.generated[leaving] -= self.start >= self.num_prompt
            self.start += 1
