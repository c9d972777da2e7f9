// Operations that go row by row: embedding, norm, conversion, addition. Their items are rows, so several of them may follow
// one another on the same rows within one phase.
#pragma once

inline Phase token_rows(const void *, const Step &step, int num_workers) {
    const int64_t rows = step.batch->num_tokens, count = rows / (2 * num_workers);
    return {rows, count < 1 ? 1 : count};
}

INLINE float *row_of(const PcpuBuffer &buffer, int64_t row) { return buffer.data + row * buffer.stride; }

INLINE float load_scalar(const void *rows, int storage, int64_t index) {
    if (storage == PCPU_F32) return ((const float *)rows)[index];
    const uint16_t half = ((const uint16_t *)rows)[index];
    if (storage == PCPU_BF16) return from_bf16(half);
    uint16_t halves[16] = {half};
    float wide[16];
    store(wide, load_half(halves));
    return wide[0];
}

inline void embed(const void *op, const Step &step, int64_t first, int64_t end) {
    const auto &e = *(const PcpuEmbed *)op;
    for (int64_t row = first; row < end; row++) {
        const int64_t token = step.batch->tokens[row];
        float *out = row_of(e.dst, row);
        if (e.table) {
            unpack_row(*e.table, e.gather, (int)token, out, e.dst.width);
        } else {
            for (int i = 0; i < e.dst.width; i++) out[i] = load_scalar(e.rows, e.rows_storage, token * e.dst.width + i);
        }
        for (int i = 0; i < e.dst.width; i++) out[i] *= e.scale;
    }
}

INLINE float sum_of_squares(const float *x, int count) {
    Vf total = zero();
    for (int i = 0; i < count; i += 16) {
        const Vf v = load_first(x + i, count - i);
        total = fma(v, v, total);
    }
    return sum(total);
}

INLINE float inverse_rms(const float *x, int count, float eps) {
    return 1.0f / __builtin_sqrtf(sum_of_squares(x, count) / (float)count + eps);
}

// A row of `norm`, into `out` (src itself is fine) up to the stride.
INLINE void norm_row(const PcpuNorm &n, const float *x, float *out) {
    const Vf factor = splat(inverse_rms(x, n.src.width, n.eps));
    for (int i = 0; i < n.src.stride; i += 16) store(out + i, mul(mul(load(x + i), factor), load(n.weight + i)));
}

inline void norm(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &n = *(const PcpuNorm *)op;
    for (int64_t row = first; row < end; row++) {
        float *out = row_of(n.dst, row);
        norm_row(n, row_of(n.src, row), out);
        write_forms(out, n.num_forms, n.forms, row);
    }
}

inline void convert(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &c = *(const PcpuConvert *)op;
    for (int64_t row = first; row < end; row++) write_forms(row_of(c.src, row), c.num_forms, c.forms, row);
}

inline void add_rows(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &a = *(const PcpuAdd *)op;
    const Vf scale = splat(a.scale);
    for (int64_t row = first; row < end; row++) {
        float *out = row_of(a.dst, row);
        const float *x = row_of(a.src, row);
        for (int i = 0; i < a.dst.stride; i += 16) store(out + i, fma(scale, load(x + i), load(out + i)));
    }
}

// The last norm: not for all rows of the step, but for those that want logits, then for those that want hidden states.
inline Phase final_rows(const void *, const Step &step, int num_workers) {
    const int64_t rows = step.batch->num_logit_rows + step.batch->num_hidden_rows, count = rows / (2 * num_workers);
    return {rows, count < 1 ? 1 : count};
}

inline void final_norm(const void *op, const Step &step, int64_t first, int64_t end) {
    const auto &n = *(const PcpuNorm *)op;
    const PcpuBatch &batch = *step.batch;
    for (int64_t i = first; i < end; i++) {
        const int64_t hidden = i - batch.num_logit_rows;
        if (hidden >= 0) {
            norm_row(n, row_of(n.src, batch.hidden_rows[hidden]), batch.hidden + hidden * batch.hidden_stride);
            continue;
        }
        float *out = row_of(n.dst, i);
        norm_row(n, row_of(n.src, batch.logit_rows[i]), out);
        write_forms(out, n.num_forms, n.forms, i);
    }
}
