// Sixteen lanes in the compiler's own vectors: correct on any CPU, and NEON's dot product where compiled for it.
// See simd.h for what each function means.
#pragma once

#ifdef __ARM_FEATURE_DOTPROD
#include <arm_neon.h>
#endif
#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef float Vf __attribute__((vector_size(64)));
typedef int32_t Vi __attribute__((vector_size(64)));
typedef uint32_t Vu __attribute__((vector_size(64)));
typedef uint8_t Bytes __attribute__((vector_size(64)));
typedef uint16_t Words __attribute__((vector_size(64)));

constexpr int kMaxRows = 2;
constexpr int kScoreRows = 2;
constexpr int kScoreBlocks = 1;

template <class To, class From>
INLINE To bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "a change of type, not of size");
    To y;
    __builtin_memcpy(&y, &x, sizeof y);
    return y;
}
template <class V>
INLINE V load_as(const void *p) {
    V x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}
INLINE Vf splat(float x) { return Vf{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE Vi splat_int(int32_t x) { return Vi{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE Vf zero() { return splat(0.0f); }
INLINE Vf load(const float *p) { return load_as<Vf>(p); }
INLINE void store(float *p, Vf x) { __builtin_memcpy(p, &x, sizeof x); }
INLINE Vf load_first(const float *p, int n) {
    Vf x = zero();
    for (int i = 0; i < 16 && i < n; i++) x[i] = p[i];
    return x;
}
INLINE void store_first(float *p, Vf x, int n) {
    for (int i = 0; i < 16 && i < n; i++) p[i] = x[i];
}
INLINE Vf add(Vf a, Vf b) { return a + b; }
INLINE Vf sub(Vf a, Vf b) { return a - b; }
INLINE Vf mul(Vf a, Vf b) { return a * b; }
INLINE Vf div(Vf a, Vf b) { return a / b; }
INLINE Vf fma(Vf a, Vf b, Vf c) { return a * b + c; }
INLINE Vf select(Vi mask, Vf a, Vf b) { return bits<Vf>((mask & bits<Vi>(a)) | (~mask & bits<Vi>(b))); }
INLINE Vf max(Vf a, Vf b) { return select(a > b, a, b); }
INLINE Vf min(Vf a, Vf b) { return select(a < b, a, b); }
INLINE Vf abs(Vf x) { return bits<Vf>(bits<Vi>(x) & splat_int(0x7fffffff)); }
INLINE Vf keep_lanes(Vf x, int from, int to, float other) {
    const Vi lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return select((lanes >= splat_int(from)) & (lanes < splat_int(to)), x, splat(other));
}
INLINE unsigned lanes_above(Vf x, Vf bound) {
    unsigned mask = 0;
    for (int i = 0; i < 16; i++) mask |= (unsigned)(x[i] > bound[i]) << i;
    return mask;
}
INLINE float sum(Vf x) {
    float eight[8], four[4];
    for (int i = 0; i < 8; i++) eight[i] = x[i] + x[i + 8];
    for (int i = 0; i < 4; i++) four[i] = eight[i] + eight[i + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}
INLINE float highest(Vf x) {
    float best = x[0];
    for (int i = 1; i < 16; i++) best = x[i] > best ? x[i] : best;
    return best;
}

// Adding 1.5 * 2^23 rounds to the nearest even integer; what is larger than 2^22 is an integer nearly or wholly already.
INLINE Vf round_even(Vf x) {
    const Vf magic = splat(12582912.0f);
    return select(abs(x) < splat(4194304.0f), (x + magic) - magic, x);
}
INLINE Vi to_int(Vf x) {  // int8 and exponents only ask for small numbers; the rest must merely be defined
    return __builtin_convertvector(round_even(min(max(x, splat(-8e6f)), splat(8e6f))), Vi);
}
INLINE Vf to_float(Vi x) { return __builtin_convertvector(x, Vf); }
INLINE Vf pow2(Vf n) { return bits<Vf>((to_int(n) + splat_int(127)) << 23); }
INLINE int sum_int(Vi x) {
    int total = 0;
    for (int i = 0; i < 16; i++) total += x[i];
    return total;
}
INLINE void store_s8(int8_t *p, Vi x) {
    for (int i = 0; i < 16; i++) p[i] = (int8_t)(x[i] < -128 ? -128 : x[i] > 127 ? 127 : x[i]);
}
INLINE Vf load_half(const uint16_t *p) {
    Vf x;
    for (int i = 0; i < 16; i++) {
        const uint32_t exponent = p[i] >> 10 & 31, fraction = p[i] & 1023, sign = (uint32_t)(p[i] >> 15) << 31;
        const float tiny = (float)fraction * 5.9604644775390625e-08f;  // 2^-24, subnormal
        const uint32_t rest = exponent == 0    ? bits<uint32_t>(tiny)
                              : exponent == 31 ? 0x7f800000u | fraction << 13
                                               : (exponent + 112) << 23 | fraction << 13;
        x[i] = bits<float>(sign | rest);
    }
    return x;
}

// ---- codes against int8 ----
INLINE Bytes load_bytes(const uint8_t *p) { return load_as<Bytes>(p); }
INLINE Bytes low_nibbles(Bytes v) { return v & (uint8_t)15; }
INLINE Bytes high_nibbles(Bytes v) { return v >> (uint8_t)4; }

#ifdef __ARM_FEATURE_DOTPROD
// vdotq multiplies signed by signed. 8-bit codes go in 128 lower, and 128 times the sum of x is added as two dots with 64.
template <int BITS>
struct Dot {
    int32x4_t total[4];
    INLINE void start() {
        for (auto &t : total) t = vdupq_n_s32(0);
    }
    INLINE void add(Bytes codes, int32_t x) {
        const int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(x));
        int8x16_t code[4];
        __builtin_memcpy(code, &codes, sizeof codes);
        for (int i = 0; i < 4; i++) {
            if (BITS == 4) {
                total[i] = vdotq_s32(total[i], code[i], four);
            } else {
                total[i] = vdotq_s32(total[i], veorq_s8(code[i], vdupq_n_s8(-128)), four);
                total[i] = vdotq_s32(vdotq_s32(total[i], vdupq_n_s8(64), four), vdupq_n_s8(64), four);
            }
        }
    }
    INLINE Vf value() const { return to_float(load_as<Vi>(total)); }
};
#elif defined(__SSE2__)
// Every x86 of 64 bits multiplies pairs of 16 bits: bytes 0 and 2 of each lane, then 1 and 3.
template <int BITS>
struct Dot {
    __m128i total[4];
    INLINE void start() {
        for (auto &t : total) t = _mm_setzero_si128();
    }
    INLINE void add(Bytes codes, int32_t x) {
        const __m128i four = _mm_set1_epi32(x), low = _mm_set1_epi16(255);
        const __m128i even = _mm_srai_epi16(_mm_slli_epi16(four, 8), 8), odd = _mm_srai_epi16(four, 8);
        __m128i code[4];
        __builtin_memcpy(code, &codes, sizeof codes);
        for (int i = 0; i < 4; i++) {
            total[i] = _mm_add_epi32(total[i], _mm_madd_epi16(_mm_and_si128(code[i], low), even));
            total[i] = _mm_add_epi32(total[i], _mm_madd_epi16(_mm_srli_epi16(code[i], 8), odd));
        }
    }
    INLINE Vf value() const { return to_float(load_as<Vi>(total)); }
};
#else
template <int BITS>
struct Dot {
    Vi total;
    INLINE void start() { total = splat_int(0); }
    INLINE void add(Bytes codes, int32_t x) {
        const Vi four = bits<Vi>(codes);
        for (int byte = 0; byte < 4; byte++) {
            total += ((four >> (8 * byte)) & splat_int(255)) * splat_int((int8_t)(x >> (8 * byte)));
        }
    }
    INLINE Vf value() const { return to_float(total); }
};
#endif

// ---- bf16 ----
INLINE Words load_words(const uint16_t *p) { return load_as<Words>(p); }
INLINE Vf even_half(Vu v) { return bits<Vf>(v << 16); }
INLINE Vf odd_half(Vu v) { return bits<Vf>(v & 0xffff0000u); }
INLINE void store_bf16(uint16_t *p, Vf x) {
    const Vu raw = bits<Vu>(x), rounded = raw + ((raw >> 16) & 1u) + 0x7fffu;
    const Vi sound = x == x;
    const Vu kept = (rounded & bits<Vu>(sound)) | (0x7fc00000u & ~bits<Vu>(sound));
    for (int i = 0; i < 16; i++) p[i] = (uint16_t)(kept[i] >> 16);
}
INLINE Vf dot_bf16(Vf total, Words a, uint32_t pair) {
    const Vu both = bits<Vu>(a);
    total = fma(even_half(both), splat(bits<float>(pair << 16)), total);
    return fma(odd_half(both), splat(bits<float>(pair & 0xffff0000u)), total);
}
INLINE Words words_to_bf16(Words v) {
    const Vu both = bits<Vu>(v);
    const Vf even = __builtin_convertvector(both & 0xffffu, Vf), odd = __builtin_convertvector(both >> 16, Vf);
    return bits<Words>((bits<Vu>(even) >> 16) | bits<Vu>(odd));
}
template <int SHIFT>
INLINE Words nibbles_to_bf16(Bytes v) { return words_to_bf16((bits<Words>(v) >> (uint16_t)SHIFT) & (uint16_t)15); }
template <int SHIFT>
INLINE Words bytes_to_bf16(Bytes v) { return words_to_bf16((bits<Words>(v) >> (uint16_t)SHIFT) & (uint16_t)255); }
INLINE Bytes widen_bytes(const uint8_t *p) {
    Words v;
    for (int i = 0; i < 32; i++) v[i] = p[i];
    return bits<Bytes>(v);
}
INLINE Words widen_to_bf16(const uint8_t *p) { return words_to_bf16(bits<Words>(widen_bytes(p))); }
INLINE Vf load_bf16(const uint16_t *p) {
    Vu v;
    for (int i = 0; i < 16; i++) v[i] = (uint32_t)p[i] << 16;
    return bits<Vf>(v);
}
INLINE void prefetch(const void *p) { __builtin_prefetch(p); }
