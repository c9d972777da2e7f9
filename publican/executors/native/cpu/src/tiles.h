// The inner loops: one panel of 16 outputs against 1 … kMaxRows rows.
//
// Every row's sums are made by the same instructions in the same order however many rows share the tile, so that results do
// not depend on batch-mates. Scales come first in a group, then the blocks of its codes:
//
//     group   16 scales │ 16 offsets │ block 0 │ block 1 │ …          float16, or float32 where `wide_scales`
//
// A block of 4-bit codes holds, for each 8 inputs k … k+7, 16 outputs × 4 bytes; byte b has the code of k+b in its lower
// and that of k+4+b in its upper nibble. A block of 8-bit codes holds, for each 4 inputs, 16 outputs × 4 bytes.
#pragma once

struct Input {
    const PcpuActivation *form;
    const float *floats;
    int64_t stride;
    bool first;  // nobody read this panel before: it comes from memory, and so does the next one
};

INLINE const uint8_t *read_scales(const uint8_t *p, bool wide, Vf &scale, Vf &offset) {
    if (wide) {
        scale = load((const float *)p);
        offset = load((const float *)p + 16);
        return p + 128;
    }
    scale = load_half((const uint16_t *)p);
    offset = load_half((const uint16_t *)p + 16);
    return p + 64;
}

// Weights come from memory in one long row of panels: the first tile of a panel asks for what comes this much later.
constexpr int kPrefetchBytes = 12 * 1024;

// Loops over a tile's rows are unrolled wholly, all of them: one that is not would put the sums into memory.
#define EACH_ROW(r) _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++)

template <int BYTES>
INLINE void prefetch_block(const Input &input, const uint8_t *p) {
    if (!input.first) return;
    for (int i = 0; i < BYTES; i += 64) prefetch(p + kPrefetchBytes + i);
}

INLINE int32_t four_codes(const int8_t *p) {
    int32_t x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}

INLINE uint32_t two_halves(const uint16_t *p) {
    uint32_t x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}

// Codes against int8 activations. total += scale · (scale of x) · Σ codes · x + offset · Σ x, block by block.
template <int ROWS, int BITS, int BLOCK>
void tile_int8(const PcpuSegment &segment, const uint8_t *panel, const Input &input, int64_t row, float *sums) {
    constexpr int kBlockBytes = BLOCK * 16 * BITS / 8;
    const PcpuActivation &x = *input.form;
    const int64_t width = x.width, num_scales = width / 32, num_sums = width / BLOCK;
    const int8_t *codes = x.codes + row * width + segment.first_input;
    const float *scales = x.scales + row * num_scales + segment.first_input / 32;
    const float *x_sums = (BLOCK == 32 ? x.sums : x.sums16) + row * num_sums + segment.first_input / BLOCK;
    Vf total[ROWS];
    EACH_ROW(r) total[r] = load(sums + r * 16);
    for (int block = 0; block < segment.num_blocks;) {
        Vf scale, offset;
        panel = read_scales(panel, segment.wide_scales, scale, offset);
        const int rest = segment.num_blocks - block;
        const int end = block + (rest < segment.blocks_per_group ? rest : segment.blocks_per_group);
        for (; block < end; block++, panel += kBlockBytes) {
            Dot<BITS> dot[ROWS];
            EACH_ROW(r) dot[r].start();
            prefetch_block<kBlockBytes>(input, panel);
#pragma GCC unroll 4
            for (int k = 0; k < BLOCK; k += 8) {
                Bytes first, second;
                if (BITS == 4) {
                    const Bytes both = load_bytes(panel + k * 8);
                    first = low_nibbles(both);
                    second = high_nibbles(both);
                } else {
                    first = load_bytes(panel + k * 16);
                    second = load_bytes(panel + k * 16 + 64);
                }
                const int8_t *at = codes + block * BLOCK + k;
                EACH_ROW(r) dot[r].add(first, four_codes(at + r * width));
                EACH_ROW(r) dot[r].add(second, four_codes(at + r * width + 4));
            }
            const int scale_at = block * BLOCK / 32;
            EACH_ROW(r) {
                total[r] = fma(dot[r].value(), mul(scale, splat(scales[r * num_scales + scale_at])), total[r]);
                total[r] = fma(offset, splat(x_sums[r * num_sums + block]), total[r]);
            }
        }
    }
    EACH_ROW(r) store(sums + r * 16, total[r]);
}

// Codes against bf16 activations: codes are exact in bf16, so that nothing but the activations is rounded.
template <int ROWS, int BITS, int BLOCK>
void tile_halves(const PcpuSegment &segment, const uint8_t *panel, const Input &input, int64_t row, float *sums) {
    constexpr int kBlockBytes = BLOCK * 16 * BITS / 8;
    const PcpuActivation &x = *input.form;
    const int64_t width = x.width, num_sums = width / BLOCK;
    const uint16_t *halves = x.halves + row * width + segment.first_input;
    const float *x_sums = (BLOCK == 32 ? x.sums : x.sums16) + row * num_sums + segment.first_input / BLOCK;
    Vf total[ROWS];
    EACH_ROW(r) total[r] = load(sums + r * 16);
    for (int block = 0; block < segment.num_blocks;) {
        Vf scale, offset;
        panel = read_scales(panel, segment.wide_scales, scale, offset);
        const int rest = segment.num_blocks - block;
        const int end = block + (rest < segment.blocks_per_group ? rest : segment.blocks_per_group);
        for (; block < end; block++, panel += kBlockBytes) {
            Vf dot[ROWS];
            EACH_ROW(r) dot[r] = zero();
            prefetch_block<kBlockBytes>(input, panel);
            for (int k = 0; k < BLOCK; k += 8) {
                // Pairs of inputs (0, 2), (1, 3), (4, 6), (5, 7): as the activations lie (activation.h, swap_middles).
                Words pair[4];
                if (BITS == 4) {
                    const Bytes both = load_bytes(panel + k * 8);
                    pair[0] = nibbles_to_bf16<0>(both), pair[1] = nibbles_to_bf16<8>(both);
                    pair[2] = nibbles_to_bf16<4>(both), pair[3] = nibbles_to_bf16<12>(both);
                } else {
                    const Bytes first = load_bytes(panel + k * 16), second = load_bytes(panel + k * 16 + 64);
                    pair[0] = bytes_to_bf16<0>(first), pair[1] = bytes_to_bf16<8>(first);
                    pair[2] = bytes_to_bf16<0>(second), pair[3] = bytes_to_bf16<8>(second);
                }
                const uint16_t *at = halves + block * BLOCK + k;
#pragma GCC unroll 4
                for (int p = 0; p < 4; p++) {
                    EACH_ROW(r) dot[r] = dot_bf16(dot[r], pair[p], two_halves(at + r * width + 2 * p));
                }
            }
            EACH_ROW(r) {
                total[r] = fma(dot[r], scale, total[r]);
                total[r] = fma(offset, splat(x_sums[r * num_sums + block]), total[r]);
            }
        }
    }
    EACH_ROW(r) store(sums + r * 16, total[r]);
}

// Bf16 weights against bf16 activations; a block is 4 inputs, as two pairs of 16 outputs.
template <int ROWS>
void tile_bf16(const PcpuSegment &segment, const uint8_t *panel, const Input &input, int64_t row, float *sums) {
    const PcpuActivation &x = *input.form;
    const int64_t width = x.width;
    const uint16_t *halves = x.halves + row * width + segment.first_input;
    Vf total[ROWS];
    EACH_ROW(r) total[r] = load(sums + r * 16);
    const uint16_t *weights = (const uint16_t *)panel;
    for (int pair = 0; pair < 2 * segment.num_blocks; pair++, weights += 32) {
        const Words w = load_words(weights);
        prefetch_block<64>(input, (const uint8_t *)weights);
        EACH_ROW(r) total[r] = dot_bf16(total[r], w, two_halves(halves + r * width + 2 * pair));
    }
    EACH_ROW(r) store(sums + r * 16, total[r]);
}

// Float16 or float32 weights against the float32 buffer itself; a block is one input of 16 outputs.
template <int ROWS, int STORAGE>
void tile_float(const PcpuSegment &segment, const uint8_t *panel, const Input &input, int64_t row, float *sums) {
    const float *x = input.floats + row * input.stride;
    Vf total[ROWS];
    EACH_ROW(r) total[r] = load(sums + r * 16);
    for (int64_t k = 0; k < segment.num_blocks; k++) {
        const Vf w = STORAGE == PCPU_F32 ? load((const float *)panel + k * 16) : load_half((const uint16_t *)panel + k * 16);
        EACH_ROW(r) total[r] = fma(w, splat(x[r * input.stride + k]), total[r]);
    }
    EACH_ROW(r) store(sums + r * 16, total[r]);
}

using Tile = void (*)(const PcpuSegment &, const uint8_t *, const Input &, int64_t, float *);

template <int ROWS>
Tile tile_of(const PcpuSegment &s, bool int8) {
    const bool small = s.block_len == 16;
    switch (s.storage) {
        case PCPU_CODES4:
            if (int8) return small ? &tile_int8<ROWS, 4, 16> : &tile_int8<ROWS, 4, 32>;
            return small ? &tile_halves<ROWS, 4, 16> : &tile_halves<ROWS, 4, 32>;
        case PCPU_CODES8:
            if (int8) return small ? &tile_int8<ROWS, 8, 16> : &tile_int8<ROWS, 8, 32>;
            return small ? &tile_halves<ROWS, 8, 16> : &tile_halves<ROWS, 8, 32>;
        case PCPU_BF16: return &tile_bf16<ROWS>;
        case PCPU_F16: return &tile_float<ROWS, PCPU_F16>;
        default: return &tile_float<ROWS, PCPU_F32>;
    }
}

inline Tile pick_tile(const PcpuSegment &s, bool int8, int rows) {
    switch (rows) {
        case 1: return tile_of<1>(s, int8);
#if defined(__AVX2__)
        case 2: return tile_of<2>(s, int8);
        case 3: return tile_of<3>(s, int8);
#endif
#if defined(__AVX512VNNI__)
        case 4: return tile_of<4>(s, int8);
        case 5: return tile_of<5>(s, int8);
        case 6: return tile_of<6>(s, int8);
        case 7: return tile_of<7>(s, int8);
        case 8: return tile_of<8>(s, int8);
        case 9: return tile_of<9>(s, int8);
        case 10: return tile_of<10>(s, int8);
        case 11: return tile_of<11>(s, int8);
#endif
        default: return tile_of<kMaxRows>(s, int8);
    }
}

// One row of a packed matrix as float32, for embeddings: out[gather[k]] = w[k].
inline void unpack_row(const PcpuMatrix &matrix, const int32_t *gather, int output, float *out, int width) {
    const int lane = output % 16;
    for (int i = 0; i < matrix.num_segments; i++) {
        const PcpuSegment &s = matrix.segments[i];
        const uint8_t *p = s.data + output / 16 * s.panel_bytes;
        const bool codes = s.storage == PCPU_CODES4 || s.storage == PCPU_CODES8;
        float scale[16], offset[16];
        for (int block = 0; block < s.num_blocks; block++) {
            if (codes && block % s.blocks_per_group == 0) {
                Vf scales, offsets;
                p = read_scales(p, s.wide_scales, scales, offsets);
                store(scale, scales), store(offset, offsets);
            }
            for (int k = 0; k < s.block_len; k++) {
                const int input = s.first_input + block * s.block_len + k;
                const int to = gather ? gather[input] : input;
                if (to < 0 || to >= width) continue;
                switch (s.storage) {
                    case PCPU_CODES4: out[to] = (float)(p[k / 8 * 64 + lane * 4 + k % 4] >> (k & 4) & 15) * scale[lane] + offset[lane]; break;
                    case PCPU_CODES8: out[to] = (float)p[k / 4 * 64 + lane * 4 + k % 4] * scale[lane] + offset[lane]; break;
                    case PCPU_BF16: out[to] = from_bf16(((const uint16_t *)p)[(k & 1) * 32 + lane * 2 + (k >> 1)]); break;
                    case PCPU_F16: {
                        float wide[16];
                        store(wide, load_half((const uint16_t *)p));
                        out[to] = wide[lane];
                        break;
                    }
                    default: out[to] = ((const float *)p)[lane];
                }
            }
            const int bytes_per_16 = s.storage == PCPU_CODES4 ? 8 : s.storage == PCPU_CODES8 ? 16 : s.storage == PCPU_F32 ? 64 : 32;
            p += s.block_len * bytes_per_16;
        }
    }
}
