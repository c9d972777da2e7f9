"""Small numbers packed into 32-bit words: one unpacker for GPTQ, EXL2 and compressed-tensors."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def unpack_stream(words: NDArray[np.int32], bits: int) -> NDArray[np.uint8]:
    """The numbers of `bits` bits in `words` [R, N], read down each column: uint8 [R · 32 / bits, N].

    A column is one stream of bits, least significant first, so a number may straddle two words (at 3, 5 and 6 bits).
    R must be a multiple of `words_per_unit(bits)`.
    """
    num_words = words_per_unit(bits)
    num_values = num_words * 32 // bits
    units = np.ascontiguousarray(words).view(np.uint32).reshape(-1, num_words, words.shape[1])
    values = np.empty((units.shape[0], num_values, words.shape[1]), np.uint8)
    for i in range(num_values):
        word, shift = divmod(i * bits, 32)
        value = units[:, word] >> np.uint32(shift)
        if shift + bits > 32:
            value |= units[:, word + 1] << np.uint32(32 - shift)
        values[:, i] = value & np.uint32((1 << bits) - 1)
    return values.reshape(-1, words.shape[1])


def words_per_unit(bits: int) -> int:
    """The least number of words that holds a whole number of values."""
    return bits // math.gcd(bits, 32)
