"""The arithmetic of contrastive search: similarity of hidden states. See `engine.search.contrastive`. Engine thread only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from publican.core.executor import Array
from publican.engine.sampling.arrays import Space

_GROWTH = 256


class Contrast:
    """Remembers the directions of all hidden states so far.

    Args:
        alpha: how much likeness to what was said is held against a candidate, 0 to 1.
    """

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._states: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._num_states = 0

    def forget(self) -> None:
        self._num_states = 0

    def copied(self, states: Array) -> NDArray[np.float32]:
        """`states` on the host, as a copy."""
        return np.array(Space.of(states).get(states), np.float32)

    def remember(self, states: Array) -> None:
        """`states` [n, hidden_size] belong to what was said."""
        new = _directions(self.copied(states))
        end = self._num_states + len(new)
        if end > len(self._states):
            grown = np.empty((max(end, self._num_states + _GROWTH, 2 * len(self._states)), new.shape[1]), np.float32)
            if self._num_states:
                grown[: self._num_states] = self._states[: self._num_states]
            self._states = grown
        self._states[self._num_states : end] = new
        self._num_states = end

    def best(self, probabilities: Sequence[float], states: Sequence[Array]) -> int:
        """The place of the candidate with the best score; the first of equals. `states` are [1, hidden_size] each."""
        candidates = _directions(np.concatenate([self.copied(state) for state in states]))
        likeness = (candidates @ self._states[: self._num_states].T).max(axis=1)
        scores = (1 - self._alpha) * np.asarray(probabilities) - self._alpha * likeness
        return int(np.argmax(scores))


def _directions(states: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(states, axis=1, keepdims=True)
    directions: NDArray[np.float32] = states / np.maximum(norms, 1e-12)
    return directions
