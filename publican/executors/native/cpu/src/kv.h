// The KV cache's blocks: 16 tokens of one layer and head, how numbers become what they hold, and where in a block they go.
//
//     bf16    K [dim pair][token][2], then V [token pair][dim][2]                                  2 bytes a number
//     int8    the same in bytes, 128 + code; then 16 float32 scales of K and 16 of V, one for each token
//     int4    K [two dim pairs][token][2]     low nibbles are the first pair of each four dims, high ones the second
//             V [token pair][32 dims][16][2]  low nibbles are the first 16 of the dims, high ones the last
//             then bf16 steps of K [32 dims][token], and of V: a number is step * (code - 8)
//
// No byte has numbers of two tokens: different threads write the tokens of a block.
#pragma once

constexpr int kGroup = 32;  // numbers of an int4 head that share a step
constexpr int kMaxGroups = kMaxHeadDim / kGroup;

INLINE int padded_head(const PcpuCache &cache) {
    const int to = cache.storage == PCPU_KV_INT4 ? kGroup : 16;
    return (cache.head_dim + to - 1) / to * to;
}

INLINE int64_t kv_block_bytes(const PcpuCache &cache) {
    const int64_t numbers = (int64_t)2 * 16 * padded_head(cache);
    switch (cache.storage) {
        case PCPU_KV_INT8: return numbers + 2 * 16 * 4;
        case PCPU_KV_INT4: return numbers / 2 + numbers / kGroup * 2;
        default: return numbers * 2;
    }
}

// Where V begins, and where the int4 steps do, K's before V's.
template <int BITS>
INLINE int64_t values_offset(int padded) { return (int64_t)2 * padded * BITS; }
INLINE int64_t steps_offset(int padded) { return (int64_t)16 * padded; }

// The block of 16 tokens that `position` of sequence `owner` lies in, for one layer of a pool and one head.
INLINE uint8_t *kv_block(const Step &step, int owner, int position, int pool, int layer, int head) {
    const PcpuCache &c = *step.cache;
    const int32_t *table = pool ? step.batch->windowed_pages : step.batch->pages;
    const int page = table[(int64_t)owner * step.batch->table_width + position / c.page_len];
    const int64_t blocks = c.page_len / 16, block = position % c.page_len / 16;
    return c.pools[pool].data + page * c.pools[pool].page_bytes + ((layer * blocks + block) * c.num_kv_heads + head) * kv_block_bytes(c);
}

// What a masked position holds is multiplied by zero, so it must be finite whatever was computed there.
INLINE Vf finite(Vf x) { return min(max(x, splat(-3.0e38f)), splat(3.0e38f)); }

// A head's numbers, zeros behind them, as bf16; as 128 + codes with a scale; or as codes from 0 to 15 with a step for each 32.
struct StoredHead {
    alignas(64) uint16_t halves[kMaxHeadDim];
    int8_t codes[kMaxHeadDim];
    float scale;
    uint16_t steps[kMaxGroups];
};

inline void encode_bf16(const float *x, int head_dim, int padded, StoredHead &out) {
    for (int i = 0; i < padded; i += 16) store_bf16(out.halves + i, finite(load_first(x + i, head_dim - i)));
}

inline void encode_int8(const float *x, int head_dim, int padded, StoredHead &out) {
    Vf largest = zero();
    for (int i = 0; i < padded; i += 16) largest = max(largest, abs(finite(load_first(x + i, head_dim - i))));
    const float top = highest(largest);
    out.scale = top > kSmallest ? top / 127.0f : 0.0f;
    const Vf inverse = splat(top > kSmallest ? 127.0f / top : 0.0f);
    for (int i = 0; i < padded; i += 16) store_s8(out.codes + i, to_code(mul(finite(load_first(x + i, head_dim - i)), inverse)));
    for (int i = 0; i < padded; i++) out.codes[i] = (int8_t)(uint8_t)(out.codes[i] + 128);
}

// The number of the largest size becomes code 0, whatever its sign: so all sixteen codes are used (as in GGUF's Q4_0).
inline void encode_int4(const float *x, int head_dim, int padded, StoredHead &out) {
    for (int g = 0; g < padded; g += kGroup) {
        const Vf a = finite(load_first(x + g, head_dim - g)), b = finite(load_first(x + g + 16, head_dim - g - 16));
        const float most = highest(max(a, b)), least = -highest(max(sub(zero(), a), sub(zero(), b)));
        const float extreme = most > -least ? most : least;
        uint16_t half[16];
        store_bf16(half, splat(most > kSmallest || least < -kSmallest ? extreme / -8.0f : 0.0f));
        const float step = from_bf16(half[0]);
        const Vf inverse = splat(step == 0.0f ? 0.0f : 1.0f / step), middle = splat(8.0f), top = splat(15.0f);
        store_s8(out.codes + g, to_int(min(max(fma(a, inverse, middle), zero()), top)));
        store_s8(out.codes + g + 16, to_int(min(max(fma(b, inverse, middle), zero()), top)));
        out.steps[g / kGroup] = half[0];
    }
}

template <class T>
INLINE void place_key(T *block, const T *head, int padded, int token) {
    for (int p = 0; p < padded / 2; p++) {
        block[(p * 16 + token) * 2] = head[2 * p];
        block[(p * 16 + token) * 2 + 1] = head[2 * p + 1];
    }
}
template <class T>
INLINE void place_value(T *block, const T *head, int padded, int token) {
    T *row = block + token / 2 * padded * 2 + token % 2;
    for (int i = 0; i < padded; i++) row[2 * i] = head[i];
}

INLINE void place_key_int4(uint8_t *block, const int8_t *codes, int padded, int token) {
    for (int c = 0; c < padded / 4; c++) {
        uint8_t *pair = block + (c * 16 + token) * 2;
        pair[0] = (uint8_t)(codes[4 * c] | codes[4 * c + 2] << 4);
        pair[1] = (uint8_t)(codes[4 * c + 1] | codes[4 * c + 3] << 4);
    }
}
INLINE void place_value_int4(uint8_t *block, const int8_t *codes, int padded, int token) {
    uint8_t *row = block + token / 2 * padded + token % 2;
    for (int g = 0; g < padded; g += kGroup) {
        for (int i = 0; i < 16; i++) row[g + 2 * i] = (uint8_t)(codes[g + i] | codes[g + 16 + i] << 4);
    }
}

inline void write_int4(uint8_t *block, const float *k, const float *v, int head_dim, int padded, int token) {
    StoredHead head;
    uint16_t *steps = (uint16_t *)(block + steps_offset(padded));
    const int groups = padded / kGroup;
    encode_int4(k, head_dim, padded, head);
    place_key_int4(block, head.codes, padded, token);
    for (int g = 0; g < groups; g++) steps[g * 16 + token] = head.steps[g];
    encode_int4(v, head_dim, padded, head);
    place_value_int4(block + values_offset<4>(padded), head.codes, padded, token);
    for (int g = 0; g < groups; g++) steps[(groups + g) * 16 + token] = head.steps[g];
}

inline void write_int8(uint8_t *block, const float *k, const float *v, int head_dim, int padded, int token) {
    StoredHead head;
    float *scales = (float *)(block + (int64_t)2 * 16 * padded);
    encode_int8(k, head_dim, padded, head);
    place_key((int8_t *)block, head.codes, padded, token);
    scales[token] = head.scale;
    encode_int8(v, head_dim, padded, head);
    place_value((int8_t *)block + 16 * padded, head.codes, padded, token);
    scales[16 + token] = head.scale;
}

inline void write_bf16(uint8_t *block, const float *k, const float *v, int head_dim, int padded, int token) {
    StoredHead head;
    encode_bf16(k, head_dim, padded, head);
    place_key((uint16_t *)block, head.halves, padded, token);
    encode_bf16(v, head_dim, padded, head);
    place_value((uint16_t *)block + 16 * padded, head.halves, padded, token);
}

inline void write_kv(const PcpuCache &cache, uint8_t *block, const float *k, const float *v, int token) {
    const int padded = padded_head(cache);
    switch (cache.storage) {
        case PCPU_KV_INT8: return write_int8(block, k, v, cache.head_dim, padded, token);
        case PCPU_KV_INT4: return write_int4(block, k, v, cache.head_dim, padded, token);
        default: return write_bf16(block, k, v, cache.head_dim, padded, token);
    }
}
