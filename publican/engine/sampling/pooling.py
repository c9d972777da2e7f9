"""The arithmetic of a text's vector: how the hidden states of its tokens become one. Engine thread only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from publican.core.executor import Array
from publican.core.model import Pooling
from publican.engine.sampling.arrays import Space


class Pool:
    """Takes the states of one text as they are computed, in order, and keeps no more of them than the vector needs."""

    def __init__(self, pooling: Pooling) -> None:
        self._pooling = pooling
        self._num_states = 0
        self._kept: NDArray[np.float64] | None = None

    def forget(self) -> None:
        """The text is computed once more, from its beginning."""
        self._num_states, self._kept = 0, None

    def add(self, states: Array) -> None:
        """`states` [n, hidden_size] of the next n tokens."""
        space = Space.of(states)
        match self._pooling:
            case "mean":
                total = space.get(space.xp.sum(states, axis=0, dtype=space.xp.float64))
                self._kept = np.array(total) if self._kept is None else self._kept + total
            case "cls":
                self._kept = np.array(space.get(states[0]), np.float64) if self._kept is None else self._kept
            case "last":
                self._kept = np.array(space.get(states[-1]), np.float64)
        self._num_states += len(states)

    def vector(self) -> tuple[float, ...] | None:
        """The text's vector, of any length; None if it holds what is no number. At least one state was added."""
        assert self._kept is not None
        vector = self._kept / self._num_states if self._pooling == "mean" else self._kept
        return tuple(vector.astype(np.float32).tolist()) if np.isfinite(vector).all() else None
