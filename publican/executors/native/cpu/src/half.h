// float16 from float32, for packing: once, without any instruction set.
#pragma once

#include <stdint.h>
#include <string.h>

namespace pcpu {

// To the nearest, ties to even; what is too large becomes infinite.
inline uint16_t to_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits >= 0x47800000) return (uint16_t)(sign | (bits > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (bits < 0x38800000) {
        // Subnormal: adding 0.5 leaves the fraction, rounded, in the lowest bits.
        float small;
        memcpy(&small, &bits, sizeof small);
        small += 0.5f;
        memcpy(&bits, &small, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    bits += 0xc8000fff + (bits >> 13 & 1);
    return (uint16_t)(sign | bits >> 13);
}

inline float from_half(uint16_t half) {
    const uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 0) return (half & 0x8000 ? -1.0f : 1.0f) * (float)fraction * 5.9604644775390625e-08f;
    const uint32_t bits = (uint32_t)(half & 0x8000) << 16 | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

}  // namespace pcpu
