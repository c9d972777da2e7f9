"""`KVCache`: keys and values in pages."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np

from publican.executors.native.batch import Ints
from publican.executors.native.kv_codes import GROUP_LEN, Codes, CodeType, decode, encode
from publican.executors.native.program import Floats

KVType = Literal["f32", "q8", "q4"]


class KVCache:
    """Keys and values of all layers, [layers, pages, tokens of a page, heads, head_dim], as float32 or as codes.

    Memory that was never written is never read (`PageTables` sees to that), so it need not be cleared.

    Attributes:
        page_len: tokens of a page.
        mixes: whether keys are to be mixed before they come, and queries too (`kv_codes.mix`).
    """

    def __init__(
        self, num_layers: int, num_pages: int, page_len: int, num_heads: int, head_dim: int, kv_type: KVType = "f32"
    ) -> None:
        shape = num_layers, num_pages, page_len, num_heads, head_dim
        self._keys, self._values = (_Floats(shape) if kv_type == "f32" else _Codes(shape, kv_type) for _ in range(2))
        self.page_len = page_len
        self.mixes = kv_type == "q4"

    def write(self, layer: int, pages: Ints, positions: Ints, keys: Floats, values: Floats) -> None:
        """Store one token's keys and values [M, heads, head_dim] at each of M positions.

        Args:
            pages: [M, P], the page table of each token's sequence.
        """
        number, inside = np.divmod(positions, self.page_len)
        page = pages[np.arange(len(positions)), number]
        self._keys.write(layer, page, inside, keys)
        self._values.write(layer, page, inside, values)

    def read(self, layer: int, pages: Ints, num_tokens: int) -> tuple[Floats, Floats]:
        """Keys and values [num_tokens, heads, head_dim] of a sequence with the page table `pages` [P]."""
        pages = pages[: -(-num_tokens // self.page_len)]
        return self._keys.read(layer, pages, num_tokens), self._values.read(layer, pages, num_tokens)

    def copy_page(self, source: int, target: int) -> None:
        self._keys.copy_page(source, target)
        self._values.copy_page(source, target)

    @property
    def num_bytes(self) -> int:
        return self._keys.num_bytes + self._values.num_bytes


class _Floats:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self._numbers = np.empty(shape, np.float32)

    @property
    def num_bytes(self) -> int:
        return self._numbers.nbytes

    def write(self, layer: int, page: Ints, inside: Ints, numbers: Floats) -> None:
        self._numbers[layer, page, inside] = numbers

    def read(self, layer: int, pages: Ints, num_tokens: int) -> Floats:
        """The first tokens of those pages [num_tokens, heads, head_dim]; the others may never have been written."""
        return cast(Floats, self._numbers[layer, pages].reshape(-1, *self._numbers.shape[3:])[:num_tokens])

    def copy_page(self, source: int, target: int) -> None:
        self._numbers[:, target] = self._numbers[:, source]


class _Codes:
    """Steps are float32 here, whatever they were rounded to."""

    def __init__(self, shape: tuple[int, ...], kind: CodeType) -> None:
        self._kind, self._head_dim = kind, shape[-1]
        width, num_steps = (shape[-1], 1) if kind == "q8" else (-(-shape[-1] // 2), -(-shape[-1] // GROUP_LEN))
        self._codes = np.empty((*shape[:-1], width), np.int8 if kind == "q8" else np.uint8)
        self._steps = np.empty((*shape[:-1], num_steps), np.float32)

    @property
    def num_bytes(self) -> int:
        return self._codes.nbytes + self._steps.nbytes

    def write(self, layer: int, page: Ints, inside: Ints, numbers: Floats) -> None:
        at = layer, page, inside
        self._codes[at], self._steps[at] = encode(numbers, self._kind)

    def read(self, layer: int, pages: Ints, num_tokens: int) -> Floats:
        codes, steps = (part[layer, pages].reshape(-1, *part.shape[3:])[:num_tokens] for part in (self._codes, self._steps))
        return decode(Codes(codes, steps), self._head_dim)

    def copy_page(self, source: int, target: int) -> None:
        self._codes[:, target] = self._codes[:, source]
        self._steps[:, target] = self._steps[:, source]
