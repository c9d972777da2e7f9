"""`KVCache`: keys and values in pages."""

from __future__ import annotations

import numpy as np

from publican.executors.native.batch import Ints
from publican.executors.native.program import Floats


class KVCache:
    """Keys and values of all layers, float32 [layers, pages, tokens of a page, heads, head_dim].

    Memory that was never written is never read (`PageTables` sees to that), so it need not be cleared.
    """

    def __init__(self, num_layers: int, num_pages: int, page_len: int, num_heads: int, head_dim: int) -> None:
        shape = num_layers, num_pages, page_len, num_heads, head_dim
        self._keys = np.empty(shape, np.float32)
        self._values = np.empty(shape, np.float32)
        self._page_len = page_len

    def write(self, layer: int, pages: Ints, positions: Ints, keys: Floats, values: Floats) -> None:
        """Store one token's keys and values [M, heads, head_dim] at each of M positions.

        Args:
            pages: [M, P], the page table of each token's sequence.
        """
        number, inside = np.divmod(positions, self._page_len)
        page = pages[np.arange(len(positions)), number]
        self._keys[layer, page, inside] = keys
        self._values[layer, page, inside] = values

    def read(self, layer: int, pages: Ints, num_tokens: int) -> tuple[Floats, Floats]:
        """Keys and values [num_tokens, heads, head_dim] of a sequence with the page table `pages` [P]."""
        pages = pages[: -(-num_tokens // self._page_len)]
        shape = -1, *self._keys.shape[3:]
        return self._keys[layer, pages].reshape(shape)[:num_tokens], self._values[layer, pages].reshape(shape)[:num_tokens]

    def copy_page(self, source: int, target: int) -> None:
        self._keys[:, target] = self._keys[:, source]
        self._values[:, target] = self._values[:, source]
