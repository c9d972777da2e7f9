"""`KVCache`: the keys and values of the layers that one device has, in pages."""

from __future__ import annotations

import torch


class KVCache:
    """One tensor [layers, keys or values, pages, heads, tokens of a page, head_dim].

    A head's part of a page lies side by side, for that is what a program of the attention kernel reads. There is one page
    more than was asked for: `spare_page`, where the padding of a replayed step is written. Memory that was never written is
    never read, so it is not cleared, but for the spare page.
    """

    def __init__(
        self, num_layers: int, num_pages: int, heads: tuple[int, int, int], dtype: torch.dtype, device: torch.device
    ) -> None:
        """`heads`: key-value heads, tokens of a page, head_dim."""
        self.data = torch.empty((num_layers, 2, num_pages + 1, *heads), dtype=dtype, device=device)
        self.spare_page = num_pages
        self.data[:, :, num_pages] = 0

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [pages, heads, tokens of a page, head_dim]."""
        return self.data[index, 0], self.data[index, 1]

    def copy_page(self, source: int, target: int) -> None:
        self.data[:, :, target] = self.data[:, :, source]


def page_bytes(num_layers: int, heads: tuple[int, int, int], dtype: torch.dtype) -> int:
    """What a page takes, all `num_layers` of it."""
    return 2 * num_layers * heads[0] * heads[1] * heads[2] * dtype.itemsize
