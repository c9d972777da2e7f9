# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,misc"
"""What every kernel on quantised weights shares: codes out of words, as `cuda.packing` draws them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_words(low_ptr, high_ptr, rows, num_words, word, mask, LOW: tl.constexpr, HIGH: tl.constexpr):
    """Low words, and the high ones with this word's fields shifted down. Any shapes that broadcast."""
    low = tl.load(low_ptr + rows * num_words + word, mask=mask, other=0)
    high = low
    if HIGH > 0:
        SHARING: tl.constexpr = LOW // HIGH
        high = tl.load(high_ptr + rows * (num_words // SHARING) + word // SHARING, mask=mask, other=0)
        high = high >> (word % SHARING * (32 // LOW * HIGH))
    return low, high


@triton.jit
def code(low, high, PLANE: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr):
    """The codes of one plane, int32."""
    value = (low >> (LOW * PLANE)) & ((1 << LOW) - 1)
    if HIGH > 0:
        value |= ((high >> (HIGH * PLANE)) & ((1 << HIGH) - 1)) << LOW
    return value


@triton.jit
def field(word, SHIFT: tl.constexpr, BITS: tl.constexpr):
    """A field of a word where it lies, as float32: field · 2^(SHIFT - 149), a subnormal number, for SHIFT + BITS <= 23.

    One instruction. A conversion would take three, one of them at a quarter of the rate or less; multiply-adds take
    subnormal numbers in their stride.
    """
    return (word & (((1 << BITS) - 1) << SHIFT)).to(tl.float32, bitcast=True)
