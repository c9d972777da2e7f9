"""`KVCache`: the keys and values of layers that one device has, in pages: of those with a window, or of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from publican.executors.native.cuda.operations import Pages
from publican.executors.native.kv_codes import GROUP_LEN
from publican.executors.native.program import KVPlace


class KVCache:
    """One tensor [layers, keys or values, pages, heads, tokens of a page, head_dim], and for int8 one of float16 scales,
    [layers, keys or values, pages, heads, tokens of a page]. For 4 bits (uint8) the last dimension is half as long, and the
    scales have one more: the groups of 32 numbers.

    A head's part of a page lies side by side, for that is what a program of the attention kernel reads. There is one page
    more than was asked for: `spare_page`, where the padding of a replayed step is written. Memory that was never written is
    never read, so it is not cleared, but for the spare page.
    """

    def __init__(
        self,
        num_layers: int,
        num_pages: int,
        heads: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        is_windowed: bool = False,
    ) -> None:
        """`heads`: key-value heads, tokens of a page, head_dim; `is_windowed`: of layers whose pages are given back."""
        shape = num_layers, 2, num_pages + 1, heads[0], heads[1]
        width = heads[2] // 2 if dtype == torch.uint8 else heads[2]
        self.data = torch.empty((*shape, width), dtype=dtype, device=device)
        self.scales: torch.Tensor | None = None
        if dtype == torch.int8:
            self.scales = torch.empty(shape, dtype=torch.float16, device=device)
        if dtype == torch.uint8:
            self.scales = torch.empty((*shape, heads[2] // GROUP_LEN), dtype=torch.float16, device=device)
        self.spare_page = num_pages
        self._is_windowed = is_windowed
        for part in self._parts():
            part[:, :, num_pages] = 0

    def _parts(self) -> list[torch.Tensor]:
        return [self.data] if self.scales is None else [self.data, self.scales]

    def layer(self, index: int) -> Pages:
        """What a layer holds; views."""
        scales = (None, None) if self.scales is None else (self.scales[index, 0], self.scales[index, 1])
        return Pages(self.data[index, 0], self.data[index, 1], *scales, is_windowed=self._is_windowed)

    def copy_page(self, source: int, target: int) -> None:
        for part in self._parts():
            part[:, :, target] = part[:, :, source]

    def fill_randomly(self) -> None:
        """As if something had been said, for measurements."""
        if self.scales is None:
            self.data.normal_()
        else:
            self.data.random_(*((-127, 128) if self.data.dtype == torch.int8 else (0, 256)))
            self.scales.fill_(1 / 64)


def make_caches(
    places: Sequence[KVPlace],
    num_pages: tuple[int, int],
    heads: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[KVCache, KVCache]:
    """For layers at `places`: one of those whose pages are for good, and one of those with a window apart. Either may have
    no layers."""
    num_windowed = sum(place.is_windowed for place in places)
    full = KVCache(len(places) - num_windowed, num_pages[0], heads, dtype, device)
    return full, KVCache(num_windowed, num_pages[1], heads, dtype, device, is_windowed=True)


def page_bytes(num_layers: int, heads: tuple[int, int, int], dtype: torch.dtype) -> int:
    """What a page takes, all `num_layers` of it."""
    if dtype == torch.uint8:
        token_bytes = heads[2] // 2 + heads[2] // GROUP_LEN * 2
    else:
        token_bytes = heads[2] * dtype.itemsize + (2 if dtype == torch.int8 else 0)
    return 2 * num_layers * heads[0] * heads[1] * token_bytes
