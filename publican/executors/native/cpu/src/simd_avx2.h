// Sixteen lanes as two AVX2 registers, with the VNNI dot where compiled for it. See simd.h for what each function means.
#pragma once

#include <immintrin.h>

struct Vf { __m256 lo, hi; };
struct Vi { __m256i lo, hi; };
using Bytes = Vi;
using Words = Vi;

constexpr int kMaxRows = 4;       // sixteen registers: 8 of sums, 4 of codes, the totals in the first-level cache
constexpr int kScoreRows = 2;
constexpr int kScoreBlocks = 2;

INLINE Vf zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE Vf splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE Vi splat_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE Vf load(const float *p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void store(float *p, Vf x) { _mm256_storeu_ps(p, x.lo), _mm256_storeu_ps(p + 8, x.hi); }
INLINE Vf as_float(Vi x) { return {_mm256_castsi256_ps(x.lo), _mm256_castsi256_ps(x.hi)}; }
INLINE Vi as_int(Vf x) { return {_mm256_castps_si256(x.lo), _mm256_castps_si256(x.hi)}; }
INLINE Vi lanes_below(int n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes), _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), lanes)};
}
INLINE Vf load_first(const float *p, int n) {
    const Vi mask = lanes_below(n);
    return {_mm256_maskload_ps(p, mask.lo), _mm256_maskload_ps(p + 8, mask.hi)};
}
INLINE void store_first(float *p, Vf x, int n) {
    const Vi mask = lanes_below(n);
    _mm256_maskstore_ps(p, mask.lo, x.lo), _mm256_maskstore_ps(p + 8, mask.hi, x.hi);
}
INLINE Vf add(Vf a, Vf b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
INLINE Vf sub(Vf a, Vf b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
INLINE Vf mul(Vf a, Vf b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
INLINE Vf div(Vf a, Vf b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
INLINE Vf fma(Vf a, Vf b, Vf c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
INLINE Vf max(Vf a, Vf b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
INLINE Vf min(Vf a, Vf b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
INLINE Vi and_int(Vi a, Vi b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
INLINE Vi or_int(Vi a, Vi b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
template <int N>
INLINE Vi shift_right(Vi x) { return {_mm256_srli_epi32(x.lo, N), _mm256_srli_epi32(x.hi, N)}; }
template <int N>
INLINE Vi shift_right_words(Vi x) { return {_mm256_srli_epi16(x.lo, N), _mm256_srli_epi16(x.hi, N)}; }
INLINE Vf abs(Vf x) { return as_float(and_int(as_int(x), splat_int(0x7fffffff))); }
INLINE Vf keep_lanes(Vf x, int from, int to, float other) {
    const Vi below = lanes_below(to), before = lanes_below(from);
    const Vf keep = as_float({_mm256_andnot_si256(before.lo, below.lo), _mm256_andnot_si256(before.hi, below.hi)});
    const Vf rest = splat(other);
    return {_mm256_blendv_ps(rest.lo, x.lo, keep.lo), _mm256_blendv_ps(rest.hi, x.hi, keep.hi)};
}
INLINE unsigned lanes_above(Vf x, Vf bound) {
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.lo, bound.lo, _CMP_GT_OQ)) |
           (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.hi, bound.hi, _CMP_GT_OQ)) << 8;
}
INLINE float sum(Vf x) {
    const __m256 eight = _mm256_add_ps(x.lo, x.hi);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
INLINE float highest(Vf x) {
    const __m256 eight = _mm256_max_ps(x.lo, x.hi);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

INLINE Vi to_int(Vf x) { return {_mm256_cvtps_epi32(x.lo), _mm256_cvtps_epi32(x.hi)}; }
INLINE Vf to_float(Vi x) { return {_mm256_cvtepi32_ps(x.lo), _mm256_cvtepi32_ps(x.hi)}; }
INLINE Vf round_even(Vf x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.lo, kNearest), _mm256_round_ps(x.hi, kNearest)};
}
INLINE Vf pow2(Vf n) {
    const Vi e = to_int(n);
    const __m256i bias = _mm256_set1_epi32(127);
    return as_float({_mm256_slli_epi32(_mm256_add_epi32(e.lo, bias), 23), _mm256_slli_epi32(_mm256_add_epi32(e.hi, bias), 23)});
}
INLINE int sum_int(Vi x) {
    const __m256i eight = _mm256_add_epi32(x.lo, x.hi);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
INLINE __m256i pack_words(Vi x) {  // 16 int32 to 16 int16, in order
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(x.lo, x.hi), 0xd8);
}
INLINE void store_s8(int8_t *p, Vi x) {
    const __m256i words = pack_words(x);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
INLINE Vf load_half(const uint16_t *p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}

// ---- codes against int8 ----
INLINE Bytes load_bytes(const uint8_t *p) {
    return {_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 32))};
}
INLINE Bytes low_nibbles(Bytes v) { return and_int(v, {_mm256_set1_epi8(15), _mm256_set1_epi8(15)}); }
INLINE Bytes high_nibbles(Bytes v) { return low_nibbles(shift_right_words<4>(v)); }

#ifdef __AVXVNNI__
template <int BITS>
struct Dot {
    Vi total;
    INLINE void start() { total = splat_int(0); }
    INLINE void add(Bytes codes, int32_t x) {
        const __m256i four = _mm256_set1_epi32(x);
        total.lo = _mm256_dpbusd_avx_epi32(total.lo, codes.lo, four);
        total.hi = _mm256_dpbusd_avx_epi32(total.hi, codes.hi, four);
    }
    INLINE Vf value() const { return to_float(total); }
};
#else
template <int BITS>
struct Dot;

// Products of 4-bit codes fit in 16 bits for a whole block: 2 * 15 * 128 * 8 = 30,720.
template <>
struct Dot<4> {
    Vi total;
    INLINE void start() { total = splat_int(0); }
    INLINE void add(Bytes codes, int32_t x) {
        const __m256i four = _mm256_set1_epi32(x);
        total.lo = _mm256_add_epi16(total.lo, _mm256_maddubs_epi16(codes.lo, four));
        total.hi = _mm256_add_epi16(total.hi, _mm256_maddubs_epi16(codes.hi, four));
    }
    INLINE Vf value() const {
        const __m256i one = _mm256_set1_epi16(1);
        return to_float({_mm256_madd_epi16(total.lo, one), _mm256_madd_epi16(total.hi, one)});
    }
};

// Products of 8-bit codes do not (maddubs saturates): the two nibbles go apart, the upper ones with weight 16.
template <>
struct Dot<8> {
    Vi total;
    INLINE void start() { total = splat_int(0); }
    static INLINE __m256i products(__m256i codes, __m256i x) {
        const __m256i nibble = _mm256_set1_epi8(15);
        const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(codes, nibble), x);
        const __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble), x);
        return _mm256_add_epi32(_mm256_madd_epi16(low, _mm256_set1_epi16(1)), _mm256_madd_epi16(high, _mm256_set1_epi16(16)));
    }
    INLINE void add(Bytes codes, int32_t x) {
        const __m256i four = _mm256_set1_epi32(x);
        total.lo = _mm256_add_epi32(total.lo, products(codes.lo, four));
        total.hi = _mm256_add_epi32(total.hi, products(codes.hi, four));
    }
    INLINE Vf value() const { return to_float(total); }
};
#endif

// ---- bf16 ----
INLINE Words load_words(const uint16_t *p) { return load_bytes((const uint8_t *)p); }
INLINE void store_bf16(uint16_t *p, Vf x) {
    const Vi bits = as_int(x), odd = and_int(shift_right<16>(bits), splat_int(1));
    const __m256i half = _mm256_set1_epi32(0x7fff);
    Vi rounded = {_mm256_add_epi32(bits.lo, _mm256_add_epi32(odd.lo, half)),
                  _mm256_add_epi32(bits.hi, _mm256_add_epi32(odd.hi, half))};
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    const Vf kept = {_mm256_blendv_ps(_mm256_castsi256_ps(rounded.lo), nan, _mm256_cmp_ps(x.lo, x.lo, _CMP_UNORD_Q)),
                     _mm256_blendv_ps(_mm256_castsi256_ps(rounded.hi), nan, _mm256_cmp_ps(x.hi, x.hi, _CMP_UNORD_Q))};
    const Vi high = shift_right<16>(as_int(kept));
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(_mm256_packus_epi32(high.lo, high.hi), 0xd8));
}
INLINE __m256 dot_half(__m256 total, __m256i a, __m256i b) {
    const __m256i odd = _mm256_set1_epi32((int)0xffff0000);
    total = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)), total);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(a, odd)), _mm256_castsi256_ps(_mm256_and_si256(b, odd)), total);
}
INLINE Vf dot_bf16(Vf total, Words a, uint32_t pair) {
    const __m256i b = _mm256_set1_epi32((int)pair);
    return {dot_half(total.lo, a.lo, b), dot_half(total.hi, a.hi, b)};
}
INLINE Words words_to_bf16(Words v) {
    const Vf even = to_float(and_int(v, splat_int(0xffff))), odd = to_float(shift_right<16>(v));
    return or_int(shift_right<16>(as_int(even)), as_int(odd));
}
template <int SHIFT>
INLINE Words nibbles_to_bf16(Bytes v) {
    // The upper and lower bytes of bf16 0 … 15 by two look-ups; the upper byte of each word looks up 0, which is 0.
    const __m256i upper = _mm256_setr_epi8(0, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41,
                                           0, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41);
    const __m256i lower = _mm256_setr_epi8(0, (char)0x80, 0, 0x40, (char)0x80, (char)0xa0, (char)0xc0, (char)0xe0,
                                           0, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70,
                                           0, (char)0x80, 0, 0x40, (char)0x80, (char)0xa0, (char)0xc0, (char)0xe0,
                                           0, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70);
    const Words nibble = and_int(shift_right_words<SHIFT>(v), {_mm256_set1_epi16(15), _mm256_set1_epi16(15)});
    const Vi high = {_mm256_slli_epi16(_mm256_shuffle_epi8(upper, nibble.lo), 8),
                     _mm256_slli_epi16(_mm256_shuffle_epi8(upper, nibble.hi), 8)};
    return or_int(high, {_mm256_shuffle_epi8(lower, nibble.lo), _mm256_shuffle_epi8(lower, nibble.hi)});
}
template <int SHIFT>
INLINE Words bytes_to_bf16(Bytes v) {
    return words_to_bf16(and_int(shift_right_words<SHIFT>(v), {_mm256_set1_epi16(255), _mm256_set1_epi16(255)}));
}
INLINE Bytes widen_bytes(const uint8_t *p) {
    return {_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)),
            _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(p + 16)))};
}
INLINE Words widen_to_bf16(const uint8_t *p) { return words_to_bf16(widen_bytes(p)); }
INLINE Vf load_bf16(const uint16_t *p) {
    const Vi wide = {_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)),
                     _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8)))};
    return as_float({_mm256_slli_epi32(wide.lo, 16), _mm256_slli_epi32(wide.hi, 16)});
}
INLINE void prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }
