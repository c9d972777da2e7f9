// Sixteen lanes on AVX-512 with VNNI, and with BF16 where compiled for it. See simd.h for what each function means.
#pragma once

#include <immintrin.h>

using Vf = __m512;
using Vi = __m512i;
using Bytes = __m512i;
using Words = __m512i;

constexpr int kMaxRows = 12;      // rows of a matmul tile: 12 sums and 12 totals of 32 registers
constexpr int kScoreRows = 4;     // query rows and 16-token blocks of an attention micro-tile
constexpr int kScoreBlocks = 4;

INLINE Vf zero() { return _mm512_setzero_ps(); }
INLINE Vf splat(float x) { return _mm512_set1_ps(x); }
INLINE Vf load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, Vf x) { _mm512_storeu_ps(p, x); }
INLINE __mmask16 lanes_below(int n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }
INLINE Vf load_first(const float *p, int n) { return _mm512_maskz_loadu_ps(lanes_below(n), p); }
INLINE void store_first(float *p, Vf x, int n) { _mm512_mask_storeu_ps(p, lanes_below(n), x); }
INLINE Vf add(Vf a, Vf b) { return _mm512_add_ps(a, b); }
INLINE Vf sub(Vf a, Vf b) { return _mm512_sub_ps(a, b); }
INLINE Vf mul(Vf a, Vf b) { return _mm512_mul_ps(a, b); }
INLINE Vf div(Vf a, Vf b) { return _mm512_div_ps(a, b); }
INLINE Vf fma(Vf a, Vf b, Vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE Vf max(Vf a, Vf b) { return _mm512_max_ps(a, b); }
INLINE Vf min(Vf a, Vf b) { return _mm512_min_ps(a, b); }
INLINE Vf abs(Vf x) { return _mm512_abs_ps(x); }
INLINE Vf keep_lanes(Vf x, int from, int to, float other) {
    return _mm512_mask_mov_ps(splat(other), lanes_below(to) & (__mmask16)~lanes_below(from), x);
}
INLINE unsigned lanes_above(Vf x, Vf bound) { return _mm512_cmp_ps_mask(x, bound, _CMP_GT_OQ); }
INLINE float sum(Vf x) { return _mm512_reduce_add_ps(x); }
INLINE float highest(Vf x) { return _mm512_reduce_max_ps(x); }

INLINE Vi to_int(Vf x) { return _mm512_cvtps_epi32(x); }
INLINE Vf to_float(Vi x) { return _mm512_cvtepi32_ps(x); }
INLINE Vf pow2(Vf n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }
INLINE Vf round_even(Vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE int sum_int(Vi x) { return _mm512_reduce_add_epi32(x); }
INLINE void store_s8(int8_t *p, Vi x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(x)); }
INLINE Vf load_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

// ---- codes against int8 ----
INLINE Bytes load_bytes(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE Bytes low_nibbles(Bytes v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
INLINE Bytes high_nibbles(Bytes v) { return low_nibbles(_mm512_srli_epi16(v, 4)); }

template <int BITS>
struct Dot {
    Vi total;
    INLINE void start() { total = _mm512_setzero_si512(); }
    INLINE void add(Bytes codes, int32_t x) { total = _mm512_dpbusd_epi32(total, codes, _mm512_set1_epi32(x)); }
    INLINE Vf value() const { return to_float(total); }
};

// ---- bf16 ----
INLINE Words load_words(const uint16_t *p) { return _mm512_loadu_si512(p); }
INLINE Words even_half(Words v) { return _mm512_slli_epi32(v, 16); }
INLINE Words odd_half(Words v) { return _mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000)); }
#ifdef __AVX512BF16__
INLINE void store_bf16(uint16_t *p, Vf x) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(x)); }
INLINE Vf dot_bf16(Vf total, Words a, uint32_t pair) {
    return _mm512_dpbf16_ps(total, (__m512bh)a, (__m512bh)_mm512_set1_epi32((int)pair));
}
#else
INLINE void store_bf16(uint16_t *p, Vf x) {
    const Vi bits = _mm512_castps_si512(x);
    const Vi odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const Vi rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const Vi kept = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
}
INLINE Vf dot_bf16(Vf total, Words a, uint32_t pair) {
    const Words b = _mm512_set1_epi32((int)pair);
    total = fma(_mm512_castsi512_ps(even_half(a)), _mm512_castsi512_ps(even_half(b)), total);
    return fma(_mm512_castsi512_ps(odd_half(a)), _mm512_castsi512_ps(odd_half(b)), total);
}
#endif

// 32 small integers, each in a word of its own, as bf16 (exact below 257).
INLINE Words words_to_bf16(Words v) {
    const Vf even = to_float(_mm512_and_si512(v, _mm512_set1_epi32(0xffff)));
    const Vf odd = to_float(_mm512_srli_epi32(v, 16));
    return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(even), 16), _mm512_castps_si512(odd));
}

template <int SHIFT>
INLINE Words nibbles_to_bf16(Bytes v) {
    // Bf16 of 0 … 15, twice: vpermw reads five bits of an index.
    const Words table = _mm512_set_epi16(0x4170, 0x4160, 0x4150, 0x4140, 0x4130, 0x4120, 0x4110, 0x4100,  //
                                         0x40e0, 0x40c0, 0x40a0, 0x4080, 0x4040, 0x4000, 0x3f80, 0,       //
                                         0x4170, 0x4160, 0x4150, 0x4140, 0x4130, 0x4120, 0x4110, 0x4100,  //
                                         0x40e0, 0x40c0, 0x40a0, 0x4080, 0x4040, 0x4000, 0x3f80, 0);
    const Words nibble = _mm512_and_si512(_mm512_srli_epi16(v, SHIFT), _mm512_set1_epi16(15));
    return _mm512_permutexvar_epi16(nibble, table);
}
template <int SHIFT>
INLINE Words bytes_to_bf16(Bytes v) {
    return words_to_bf16(_mm512_and_si512(_mm512_srli_epi16(v, SHIFT), _mm512_set1_epi16(255)));
}
INLINE Bytes widen_bytes(const uint8_t *p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p)); }
INLINE Words widen_to_bf16(const uint8_t *p) { return words_to_bf16(widen_bytes(p)); }
INLINE Vf load_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
INLINE void prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }
