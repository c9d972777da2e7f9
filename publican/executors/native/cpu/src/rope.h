// Store-KV: normalise and rotate q and k, and write k and v to the cache.
#pragma once

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

// Hadamard's transform of every 32 numbers, and of the powers of two that are left, scaled so that lengths stay: what k and q
// both went through gives the same scores, and outliers of a channel are spread over the numbers that share a step.
INLINE void mix_head(float *x, int head_dim) {
    for (int first = 0, count; first < head_dim; first += count) {
        count = kGroup;
        while (count > head_dim - first) count /= 2;
        float *part = x + first;
        for (int half = 1; half < count; half *= 2) {
            for (int i = 0; i < count; i += 2 * half) {
                for (int j = i; j < i + half; j++) {
                    const float a = part[j], b = part[j + half];
                    part[j] = a + b;
                    part[j + half] = a - b;
                }
            }
        }
        const float factor = 1.0f / __builtin_sqrtf((float)count);
        for (int i = 0; i < count; i++) part[i] *= factor;
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
        for (int h = 0; cache.storage == PCPU_KV_INT4 && h < s.num_heads + num_kv; h++) mix_head(q + (int64_t)h * dim, dim);
        for (int h = 0; h < num_kv; h++) {
            uint8_t *block = kv_block(step, owner, position, s.pool, s.layer, h);
            write_kv(cache, block, k + (int64_t)h * dim, v + (int64_t)h * dim, position % 16);
        }
    }
}
