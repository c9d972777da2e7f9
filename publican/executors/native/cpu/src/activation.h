// Rows of float32 into the forms that matrices of codes read: int8 with a scale per 32 numbers, or bf16.
#pragma once

constexpr int kActivationGroup = 32;
// Below this the reciprocal overflows; such a group is nothing beside any other number of the row.
constexpr float kSmallest = 1e-30f;

// Infinity times its inverse, zero, is NaN; as a code it must merely be some number.
INLINE Vi to_code(Vf x) { return to_int(min(max(x, splat(-127.0f)), splat(127.0f))); }

// 32 numbers: their scale, codes in -127 … 127, and scale * (sum of codes), whole and by halves.
INLINE void quantise_group(const float *x, const PcpuActivation &out, int64_t group) {
    const Vf a = load(x), b = load(x + 16);
    const float largest = highest(max(abs(a), abs(b)));
    // NaN fails the comparison, and stays: whoever looks at the logits shall see it.
    const float scale = largest <= kSmallest ? 0.0f : largest / 127.0f;
    const Vf inverse = splat(largest <= kSmallest ? 0.0f : 127.0f / largest);
    const Vi first = to_code(mul(a, inverse)), second = to_code(mul(b, inverse));
    store_s8(out.codes + group * 32, first);
    store_s8(out.codes + group * 32 + 16, second);
    const int sum_first = sum_int(first), sum_second = sum_int(second);
    out.scales[group] = scale;
    out.sums[group] = scale * (float)(sum_first + sum_second);
    out.sums16[2 * group] = scale * (float)sum_first;
    out.sums16[2 * group + 1] = scale * (float)sum_second;
}

INLINE float from_bf16(uint16_t x) {
    const uint32_t wide = (uint32_t)x << 16;
    float y;
    __builtin_memcpy(&y, &wide, sizeof y);
    return y;
}

// Of every four numbers the middle two change places: then the pairs that a nibble's shift brings together lie together.
INLINE void swap_middles(uint16_t *x, int count) {
    for (int i = 0; i < count; i += 4) {
        const uint16_t second = x[i + 1];
        x[i + 1] = x[i + 2];
        x[i + 2] = second;
    }
}

INLINE void halve_group(const float *x, const PcpuActivation &out, int64_t group) {
    uint16_t *halves = out.halves + group * 32;
    store_bf16(halves, load(x));
    store_bf16(halves + 16, load(x + 16));
    float rounded[32];
    for (int i = 0; i < 32; i++) rounded[i] = from_bf16(halves[i]);
    const float first = sum(load(rounded)), second = sum(load(rounded + 16));
    out.sums[group] = first + second;
    out.sums16[2 * group] = first;
    out.sums16[2 * group + 1] = second;
    swap_middles(halves, 32);
}

INLINE void write_group(const float *x, const PcpuActivation &out, int64_t group) {
    if (out.form == PCPU_INT8) {
        quantise_group(x, out, group);
    } else {
        halve_group(x, out, group);
    }
}

// A whole row; `x` has zeros up to the form's width. A gather picks and pads.
inline void write_row(const float *x, const PcpuActivation &out, int64_t row) {
    const int num_groups = out.width / 32;
    for (int group = 0; group < num_groups; group++) {
        const float *source = x + group * 32;
        float picked[32];
        if (out.gather) {
            for (int i = 0; i < 32; i++) {
                const int from = out.gather[group * 32 + i];
                picked[i] = from < 0 ? 0.0f : x[from];
            }
            source = picked;
        }
        write_group(source, out, row * num_groups + group);
    }
}

INLINE void write_forms(const float *x, int num_forms, const PcpuActivation *const *forms, int64_t row) {
    for (int i = 0; i < num_forms; i++) write_row(x, *forms[i], row);
}

// `count` numbers at `column` of a row; both are multiples of 32, and the form gathers nothing.
INLINE void write_piece(const float *x, const PcpuActivation &out, int64_t row, int column, int count) {
    for (int i = 0; i < count; i += 32) write_group(x + i, out, row * (out.width / 32) + (column + i) / 32);
}
