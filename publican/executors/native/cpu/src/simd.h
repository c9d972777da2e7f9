// The thin layer between the kernels and an instruction set: sixteen lanes, whatever registers they take.
//
//     Vf        16 float32                     Vi      16 int32
//     Bytes     64 uint8: 4 for each lane      Words   32 bf16 (or small integers): 2 for each lane
//
//     load_first, store_first(p, x, n)         the first n lanes; the others are zero, or left alone
//     keep_lanes(x, from, to, other)           x in lanes from … to - 1, `other` elsewhere
//     lanes_above(x, bound)                    bit i: x[i] > bound[i]
//     round_even, to_int                       to the nearest integer, ties to even
//     Dot<BITS>: start, add(codes, x), value   Σ over the added: codes[lane][0…3] · x[0…3], x being four int8;
//                                              at most 8 adds; exact
//     dot_bf16(total, a, pair)                 total + a[lane][0] · pair[0] + a[lane][1] · pair[1], in float32
//     nibbles_to_bf16<SHIFT>(v)                (word >> SHIFT) & 15 of each of 32 words, as bf16
//     bytes_to_bf16<SHIFT>(v)                  (word >> SHIFT) & 255 likewise
//     widen_bytes(p), widen_to_bf16(p)         32 bytes as words, or as bf16
//     load_bf16(p)                             16 bf16 as float32
//
// The dot products are what differs between instruction sets; everything else merely spells differently.
#pragma once

#include <stdint.h>

#define INLINE inline __attribute__((always_inline))

#if defined(__AVX512VNNI__)
#include "simd_avx512.h"
#elif defined(__AVX2__)
#include "simd_avx2.h"
#else
#include "simd_portable.h"
#endif

// e^x with a relative error of about 2e-7; below -87 it is about 1e-38, above 88 about 1e38.
INLINE Vf exp(Vf x) {
    x = min(max(x, splat(-87.0f)), splat(88.0f));
    const Vf n = round_even(mul(x, splat(1.44269504088896f)));
    const Vf r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), x));  // ln 2 in two parts, the first exact
    Vf p = splat(1.0f / 720);
    p = fma(p, r, splat(1.0f / 120));
    p = fma(p, r, splat(1.0f / 24));
    p = fma(p, r, splat(1.0f / 6));
    p = fma(p, r, splat(0.5f));
    p = fma(p, r, splat(1.0f));
    p = fma(p, r, splat(1.0f));
    return mul(p, pow2(n));
}

// tanh with an absolute error of about 1e-7.
INLINE Vf tanh(Vf x) { return sub(splat(1.0f), div(splat(2.0f), add(exp(add(x, x)), splat(1.0f)))); }

INLINE Vf soft_cap(Vf x, float cap) { return mul(splat(cap), tanh(div(x, splat(cap)))); }

INLINE Vf silu(Vf x) { return div(x, add(splat(1.0f), exp(sub(zero(), x)))); }

// x/2 · (1 + tanh(u)) is x / (1 + e^(-2u)).
INLINE Vf gelu_tanh(Vf x) {
    const Vf u2 = mul(mul(splat(1.5957691216f), x), fma(mul(splat(0.044715f), x), x, splat(1.0f)));
    return div(x, add(splat(1.0f), exp(sub(zero(), u2))));
}
