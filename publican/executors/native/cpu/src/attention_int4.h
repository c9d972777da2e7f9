// The two products of attention over an int4 cache, one group of 32 numbers after another; part of attention.h.
//
//     score[16 tokens] += step[16 tokens] · (Σ code · q - 8 · Σ q)          q's sums are known beforehand
//     out[32 dims]       = Σ over tokens of code · (weight · step)           8 · Σ weight · step is taken away at the end
#pragma once

// Raw scores of ROWS rows for BLOCKS blocks of 16 tokens; rows from `r` on.
template <int ROWS, int BLOCKS>
void score_tile_int4(const uint8_t *const *blocks, const uint8_t *const *ahead, const Queries &queries, int r0, int padded,
                     float *scores) {
    const uint16_t *q = queries.halves + r0 * padded;
    for (int g = 0; g < padded / kGroup; g++) {
        Vf total[ROWS][BLOCKS];
        for (int r = 0; r < ROWS; r++) {
            for (int b = 0; b < BLOCKS; b++) total[r][b] = zero();
        }
        for (int c = g * kGroup / 4; c < (g + 1) * kGroup / 4; c++) {
            Bytes both[BLOCKS];
            Words low[BLOCKS], high[BLOCKS];
#pragma GCC unroll 4
            for (int b = 0; b < BLOCKS; b++) both[b] = widen_bytes(blocks[b] + c * 32);
#pragma GCC unroll 4
            for (int b = 0; b < BLOCKS; b++) prefetch(ahead[b] + c * 32);
#pragma GCC unroll 4
            for (int b = 0; b < BLOCKS; b++) low[b] = nibbles_to_bf16<0>(both[b]), high[b] = nibbles_to_bf16<4>(both[b]);
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; r++) {
                const uint32_t first = two_halves(q + r * padded + 4 * c), second = two_halves(q + r * padded + 4 * c + 2);
#pragma GCC unroll 4
                for (int b = 0; b < BLOCKS; b++) total[r][b] = dot_bf16(dot_bf16(total[r][b], low[b], first), high[b], second);
            }
        }
        for (int b = 0; b < BLOCKS; b++) {
            const Vf step = load_bf16((const uint16_t *)(blocks[b] + steps_offset(padded)) + g * 16);
            for (int r = 0; r < ROWS; r++) {
                float *out = scores + r * kChunkLen + b * 16;
                const Vf raw = sub(total[r][b], splat(8.0f * queries.group_sums[(r0 + r) * kMaxGroups + g]));
                store(out, fma(raw, step, g == 0 ? zero() : load(out)));
            }
        }
    }
}

template <int ROWS>
INLINE void score_rows_int4(const ChunkBlocks &c, const Queries &q, int r, int padded, float *scores) {
    int b = c.first;
    for (; b + kScoreBlocks <= c.end; b += kScoreBlocks) {
        score_tile_int4<ROWS, kScoreBlocks>(c.keys + b, c.ahead + b, q, r, padded, scores + b * 16);
    }
    for (; b < c.end; b++) score_tile_int4<ROWS, 1>(c.keys + b, c.ahead + b, q, r, padded, scores + b * 16);
}

// Weights of 16 tokens, once for each group of the values: with their steps. `steps` are those of the keys, the values' behind.
INLINE void weigh_steps(const uint8_t *steps, int groups, Vf e, uint16_t *weights) {
    for (int g = 0; g < groups; g++) {
        const Vf step = load_bf16((const uint16_t *)steps + (groups + g) * 16);
        store_bf16(weights + (int64_t)g * kMaxTileRows * kChunkLen, mul(e, step));
    }
}

// out[ROWS][32 dims of a group] of the chunk's blocks; starts from zero.
template <int ROWS>
void weigh_tile_int4(const ChunkBlocks &c, const uint16_t *weights, int padded, int group, float *out) {
    Vf total[ROWS][2];
    for (int r = 0; r < ROWS; r++) total[r][0] = total[r][1] = zero();
    const int64_t values = values_offset<4>(padded);
    for (int b = c.first; b < c.end; b++) {
        const uint8_t *next = c.keys[b + kScoreBlocks < c.end ? b + kScoreBlocks : b] + values;
        for (int t = 0; t < 8; t++) {
            const int64_t at = (int64_t)t * padded + group * kGroup;
            const Bytes both = widen_bytes(c.keys[b] + values + at);
            prefetch(next + at);
            const Words low = nibbles_to_bf16<0>(both), high = nibbles_to_bf16<4>(both);
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; r++) {
                const uint32_t pair = two_halves(weights + r * kChunkLen + b * 16 + 2 * t);
                total[r][0] = dot_bf16(total[r][0], low, pair);
                total[r][1] = dot_bf16(total[r][1], high, pair);
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        float *to = out + (int64_t)r * padded + group * kGroup;
        store(to, total[r][0]), store(to + 16, total[r][1]);
    }
}

template <int ROWS>
INLINE void weigh_rows_int4(const ChunkBlocks &c, const uint16_t *weights, int padded, float *out) {
    for (int g = 0; g < padded / kGroup; g++) {
        weigh_tile_int4<ROWS>(c, weights + (int64_t)g * kMaxTileRows * kChunkLen, padded, g, out);
    }
}
