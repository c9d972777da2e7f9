#include "pack.h"

#include "half.h"

namespace pcpu {
namespace {

bool is_codes(const PcpuSegment &s) { return s.storage == PCPU_CODES4 || s.storage == PCPU_CODES8; }

int64_t block_bytes(const PcpuSegment &s) {
    switch (s.storage) {
        case PCPU_CODES4: return (int64_t)s.block_len * 8;
        case PCPU_CODES8: return (int64_t)s.block_len * 16;
        case PCPU_F32: return (int64_t)s.block_len * 64;
        default: return (int64_t)s.block_len * 32;
    }
}

void pack_scales(const PcpuSource &source, bool wide, int64_t output, int64_t group, uint8_t *out) {
    float values[32] = {0};
    for (int64_t lane = 0; lane < 16 && output + lane < source.num_outputs; lane++) {
        const int64_t at = (output + lane) * source.scale_stride + group;
        values[lane] = source.scales[at];
        values[16 + lane] = source.offsets[at];
    }
    if (wide) {
        memcpy(out, values, sizeof values);
        return;
    }
    uint16_t halves[32];
    for (int i = 0; i < 32; i++) halves[i] = to_half(values[i]);
    memcpy(out, halves, sizeof halves);
}

// `count` codes of 16 outputs, zeros behind them, as one block.
void pack_block(const uint8_t *const *rows, int num_rows, int64_t k, int count, const PcpuSegment &s, uint8_t *out) {
    for (int lane = 0; lane < 16; lane++) {
        uint8_t codes[32] = {0};
        if (lane < num_rows) memcpy(codes, rows[lane] + k, (size_t)count);
        if (s.storage == PCPU_CODES8) {
            for (int i = 0; i < s.block_len; i += 4) memcpy(out + i * 16 + lane * 4, codes + i, 4);
            continue;
        }
        for (int i = 0; i < s.block_len; i += 8) {
            uint32_t low, high;
            memcpy(&low, codes + i, 4), memcpy(&high, codes + i + 4, 4);
            const uint32_t both = low | high << 4;
            memcpy(out + i * 8 + lane * 4, &both, 4);
        }
    }
}

void pack_code_panel(const PcpuSource &source, const PcpuSegment &s, int64_t output, uint8_t *out) {
    const uint8_t *rows[16];
    const int num_rows = (int)(source.num_outputs - output < 16 ? source.num_outputs - output : 16);
    for (int r = 0; r < num_rows; r++) rows[r] = (const uint8_t *)source.values + (output + r) * source.row_stride;
    const int64_t scale_bytes = s.wide_scales ? 128 : 64;
    for (int64_t block = 0, group = 0, k = 0; block < s.num_blocks; group++) {
        pack_scales(source, s.wide_scales, output, group, out);
        out += scale_bytes;
        const int64_t end = k + source.group_len < source.num_inputs ? k + source.group_len : source.num_inputs;
        for (int i = 0; i < s.blocks_per_group && block < s.num_blocks; i++, block++, out += block_bytes(s)) {
            const int64_t count = end - k < s.block_len ? end - k : s.block_len;
            pack_block(rows, num_rows, k, (int)(count > 0 ? count : 0), s, out);
            k += count > 0 ? count : 0;
        }
        k = end;
    }
}

template <class T>
void pack_dense_panel(const PcpuSource &source, const PcpuSegment &s, int64_t output, T *out) {
    const T *values = (const T *)source.values;
    for (int64_t k = 0; k < (int64_t)s.num_blocks * s.block_len; k++) {
        for (int64_t lane = 0; lane < 16; lane++) {
            const bool inside = k < source.num_inputs && output + lane < source.num_outputs;
            const T value = inside ? values[(output + lane) * source.row_stride + k] : (T)0;
            if (s.storage == PCPU_BF16) {
                out[k / 4 * 64 + (k & 1) * 32 + lane * 2 + (k >> 1 & 1)] = value;
            } else {
                out[k * 16 + lane] = value;
            }
        }
    }
}

}  // namespace

int64_t panel_bytes(const PcpuSegment &s) {
    const int64_t num_groups = is_codes(s) ? (s.num_blocks + (int64_t)s.blocks_per_group - 1) / s.blocks_per_group : 0;
    return s.num_blocks * block_bytes(s) + num_groups * (s.wide_scales ? 128 : 64);
}

void pack_panels(const PcpuSource &source, const PcpuSegment &s, int64_t first, int64_t end) {
    for (int64_t panel = first; panel < end; panel++) {
        uint8_t *out = (uint8_t *)s.data + panel * s.panel_bytes;
        if (is_codes(s)) {
            pack_code_panel(source, s, panel * 16, out);
        } else if (s.storage == PCPU_F32) {
            pack_dense_panel(source, s, panel * 16, (uint32_t *)out);
        } else {
            pack_dense_panel(source, s, panel * 16, (uint16_t *)out);
        }
    }
}

bool fit_half(const float *values, int64_t count, bool exact) {
    for (int64_t i = 0; i < count; i++) {
        const float x = values[i], size = x < 0 ? -x : x;
        const bool normal = size >= 6.103515625e-05f && size <= 65504.0f;
        if (!(normal && !exact) && from_half(to_half(x)) != x) return false;
    }
    return true;
}

}  // namespace pcpu
