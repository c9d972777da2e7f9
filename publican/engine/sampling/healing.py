"""Which tokens can stand in the place of a prompt's last one. See `Sequence.heal`. Engine thread only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from publican.core.tokenizer import Vocabulary


class Healer:
    """Masks of the tokens whose text begins in a given way; the latest ones are kept."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._kept = lru_cache(64)(self._made)

    def mask(self, beginning: bytes) -> NDArray[np.bool_]:
        """bool [V]: True where a token's bytes begin with `beginning`."""
        return self._kept(beginning)

    def _made(self, beginning: bytes) -> NDArray[np.bool_]:
        special = self._vocabulary.special
        fits = (piece.startswith(beginning) and id not in special for id, piece in enumerate(self._vocabulary.pieces))
        return np.fromiter(fits, np.bool_, self._vocabulary.size)
