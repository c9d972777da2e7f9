// Store-KV: normalise and rotate q and k, and write k and v to the cache.
#pragma once

INLINE int padded_head(const PcpuCache &cache) { return (cache.head_dim + 15) / 16 * 16; }

INLINE int64_t kv_block_bytes(const PcpuCache &cache) {
    const int64_t numbers = (int64_t)2 * 16 * padded_head(cache);
    return cache.int8 ? numbers + 2 * 16 * 4 : numbers * 2;
}

// The block of 16 tokens that `position` of sequence `owner` lies in, for one layer and head.
INLINE uint8_t *kv_block(const Step &step, int owner, int position, int layer, int head) {
    const PcpuCache &c = *step.cache;
    const int page = step.batch->pages[(int64_t)owner * step.batch->table_width + position / c.page_len];
    const int64_t blocks = c.page_len / 16, block = position % c.page_len / 16;
    return c.data + page * c.page_bytes + ((layer * blocks + block) * c.num_kv_heads + head) * kv_block_bytes(c);
}

INLINE void rotate(float *x, const float *cos, const float *sin, int half) {
    float *__restrict a = x, *__restrict b = x + half;
    for (int i = 0; i < half; i++) {
        const float first = a[i], second = b[i];
        a[i] = first * cos[i] - second * sin[i];
        b[i] = second * cos[i] + first * sin[i];
    }
}

INLINE void scale_by(float *x, const float *weight, float factor, int count) {
    for (int i = 0; i < count; i++) x[i] = x[i] * factor * weight[i];
}

inline void norm_heads(float *x, const float *weight, int num_heads, int head_dim, bool together, float eps) {
    if (together) {
        scale_by(x, weight, inverse_rms(x, num_heads * head_dim, eps), num_heads * head_dim);
        return;
    }
    for (int h = 0; h < num_heads; h++) {
        float *head = x + h * head_dim;
        scale_by(head, weight, inverse_rms(head, head_dim, eps), head_dim);
    }
}

// What a masked position holds is multiplied by zero, so it must be finite whatever was computed there.
INLINE Vf finite(Vf x) { return min(max(x, splat(-3.0e38f)), splat(3.0e38f)); }

// A head's numbers, zeros behind them, as bf16; or as 128 + codes with a scale.
struct StoredHead {
    alignas(64) uint16_t halves[kMaxHeadDim];
    uint8_t codes[kMaxHeadDim];
    float scale;
};

inline void encode_head(const float *x, int head_dim, int padded, bool int8, StoredHead &out) {
    if (!int8) {
        for (int i = 0; i < padded; i += 16) store_bf16(out.halves + i, finite(load_first(x + i, head_dim - i)));
        return;
    }
    Vf largest = zero();
    for (int i = 0; i < padded; i += 16) largest = max(largest, abs(finite(load_first(x + i, head_dim - i))));
    const float top = highest(largest);
    out.scale = top > kSmallest ? top / 127.0f : 0.0f;
    const Vf inverse = splat(top > kSmallest ? 127.0f / top : 0.0f);
    int8_t codes[kMaxHeadDim];
    for (int i = 0; i < padded; i += 16) store_s8(codes + i, to_code(mul(finite(load_first(x + i, head_dim - i)), inverse)));
    for (int i = 0; i < padded; i++) out.codes[i] = (uint8_t)(codes[i] + 128);
}

// Into a block: K as [dim pair][16 tokens][2], V as [token pair][dim][2]; int8 has 16 scales of each behind.
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

inline void write_kv(const PcpuCache &cache, uint8_t *block, const float *k, const float *v, int token) {
    const int padded = padded_head(cache);
    StoredHead head;
    encode_head(k, cache.head_dim, padded, cache.int8, head);
    if (cache.int8) {
        float *scales = (float *)(block + (int64_t)2 * 16 * padded);
        place_key(block, head.codes, padded, token);
        scales[token] = head.scale;
        encode_head(v, cache.head_dim, padded, true, head);
        place_value(block + 16 * padded, head.codes, padded, token);
        scales[16 + token] = head.scale;
    } else {
        place_key((uint16_t *)block, head.halves, padded, token);
        encode_head(v, cache.head_dim, padded, false, head);
        place_value((uint16_t *)block + 16 * padded, head.halves, padded, token);
    }
}

inline void store_kv(const void *op, const Step &step, int64_t first, int64_t end) {
    const auto &s = *(const PcpuStoreKV *)op;
    const PcpuCache &cache = *step.cache;
    const int dim = cache.head_dim, num_kv = cache.num_kv_heads;
    for (int64_t row = first; row < end; row++) {
        const int position = step.batch->positions[row], owner = step.batch->owners[row];
        float *q = row_of(s.src, row), *k = q + (int64_t)s.num_heads * dim, *v = k + (int64_t)num_kv * dim;
        if (s.q_norm) norm_heads(q, s.q_norm, s.num_heads, dim, s.norm_width, s.eps);
        if (s.k_norm) norm_heads(k, s.k_norm, num_kv, dim, s.norm_width, s.eps);
        if (s.cos) {
            const int64_t at = (int64_t)position * s.rope_half;
            // q and k heads are neighbours.
            for (int h = 0; h < s.num_heads + num_kv; h++) rotate(q + (int64_t)h * dim, s.cos + at, s.sin + at, s.rope_half);
        }
        for (int h = 0; h < num_kv; h++) {
            uint8_t *block = kv_block(step, owner, position, s.layer, h);
            write_kv(cache, block, k + (int64_t)h * dim, v + (int64_t)h * dim, position % 16);
        }
    }
}
