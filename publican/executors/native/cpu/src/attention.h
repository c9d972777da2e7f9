// Ragged paged attention.
//
// The cache holds blocks of 16 tokens (drawn in kv.h): for K two dims of 16 tokens side by side, for V two tokens of all
// dims, so that both products are dots with a broadcast pair and nothing is ever summed across lanes or transposed:
//
//     score[16 tokens] += K[dim pair][16 tokens] · (q[2p], q[2p+1])        for each dim pair p
//     out[16 dims]     += V[token pair][16 dims] · (p[2t], p[2t+1])        for each token pair t
//
// A tile is a few tokens of one sequence and the query heads that share one KV head: its rows. The context is cut into
// chunks of kChunkLen at multiples of kChunkLen; each gives a partial softmax, and partials are merged in order. So a row's
// result is a function of its own context, whoever computed which chunk, and whatever rows shared its tile.
//
// BITS is what a number of the cache takes: 16 (bf16), 8 (a scale for each token) or 4 (a step for each 32 numbers of a token).
#pragma once

constexpr float kNothing = -__builtin_inff();

// Scores of a chunk, and what the softmax makes of them: bf16 weights, zero where masked; with int4 values once for each 32
// numbers of a head, for the values' steps are in them.
template <int BITS>
struct ChunkScores {
    alignas(64) float scores[kMaxTileRows][kChunkLen];
    alignas(64) uint16_t weights[BITS == 4 ? kMaxGroups : 1][kMaxTileRows][kChunkLen];
};

// A partial softmax of each row: Σ e^(score - highest) · v, the sum of the weights, and the highest score.
struct Partial {
    float *out;      // [rows][padded]
    float *weight;   // [rows]
    float *highest;  // [rows]
};

INLINE Partial partial_at(float *memory, int padded) {
    return {memory, memory + (int64_t)kMaxTileRows * padded, memory + (int64_t)kMaxTileRows * (padded + 1)};
}

struct TileRows {
    int sequence;
    int first_row;      // among the step's tokens
    int num_tokens;
    int position;       // of the first token
    int kv_head;
    int first_head;     // query head
    int num_heads;
    int num_rows;       // num_tokens * num_heads, token by token
};

// What a row sees: positions from … to - 1.
struct Range { int from, to; };

INLINE Range visible(const PcpuAttend &a, int position) {
    const int from = a.window > 0 && position + 1 > a.window ? position + 1 - a.window : 0;
    return {from, position + 1};
}

struct Queries {
    alignas(64) uint16_t halves[kMaxTileRows * kMaxHeadDim];
    float sums[kMaxTileRows];                     // of the rounded numbers, for int8 keys
    float group_sums[kMaxTileRows * kMaxGroups];  // the same of each 32, for int4 keys
};

INLINE void load_queries(const PcpuAttend &a, const TileRows &tile, int head_dim, int padded, Queries &q) {
    for (int r = 0; r < tile.num_rows; r++) {
        const int token = r / tile.num_heads, head = tile.first_head + r % tile.num_heads;
        const float *x = row_of(a.src, tile.first_row + token) + (int64_t)head * head_dim;
        uint16_t *out = q.halves + r * padded;
        float total = 0.0f;
        for (int i = 0; i < padded; i += 16) {
            const float before = total;
            store_bf16(out + i, load_first(x + i, head_dim - i));
            for (int j = i; j < i + 16; j++) total += from_bf16(out[j]);
            float &group = q.group_sums[r * kMaxGroups + i / kGroup];
            group = (i % kGroup ? group : 0.0f) + (total - before);
        }
        q.sums[r] = total;
    }
}

// Not for int4, of which a load brings twice as many.
template <int BITS>
INLINE Words load_pairs(const uint8_t *p, int64_t index) {
    return BITS == 8 ? widen_to_bf16(p + index * 32) : load_words((const uint16_t *)(p + index * 64));
}

// The blocks of a chunk, and what to ask memory for while each is being read: pages lie anywhere, and no hardware guesses
// where the next one is. Scoring a block brings in the keys that come soon, or the first values; weighing it, values.
struct ChunkBlocks {
    int first, end;
    const uint8_t *keys[kChunkLen / 16];
    const uint8_t *ahead[kChunkLen / 16];

    INLINE void look_ahead(int64_t values) {
        for (int b = first; b < end; b++) {
            const int next = b + kScoreBlocks, wrapped = first + next - end;
            ahead[b] = next < end ? keys[next] : wrapped < end ? keys[wrapped] + values : keys[b];
        }
    }
};

// Raw scores of ROWS rows for BLOCKS blocks of 16 tokens.
template <int ROWS, int BLOCKS, int BITS>
void score_tile(const uint8_t *const *blocks, const uint8_t *const *ahead, const uint16_t *q, int padded, float *scores) {
    Vf total[ROWS][BLOCKS];
    for (int r = 0; r < ROWS; r++) {
        for (int b = 0; b < BLOCKS; b++) total[r][b] = zero();
    }
    for (int p = 0; p < padded / 2; p++) {
        Words k[BLOCKS];
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) k[b] = load_pairs<BITS>(blocks[b], p);
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) prefetch(ahead[b] + p * (BITS * 4));
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; r++) {
            const uint32_t pair = two_halves(q + r * padded + 2 * p);
#pragma GCC unroll 4
            for (int b = 0; b < BLOCKS; b++) total[r][b] = dot_bf16(total[r][b], k[b], pair);
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int b = 0; b < BLOCKS; b++) store(scores + r * kChunkLen + b * 16, total[r][b]);
    }
}

template <int ROWS, int BITS>
INLINE void score_rows(const ChunkBlocks &c, const uint16_t *q, int padded, float *scores) {
    int b = c.first;
    for (; b + kScoreBlocks <= c.end; b += kScoreBlocks) {
        score_tile<ROWS, kScoreBlocks, BITS>(c.keys + b, c.ahead + b, q, padded, scores + b * 16);
    }
    for (; b < c.end; b++) score_tile<ROWS, 1, BITS>(c.keys + b, c.ahead + b, q, padded, scores + b * 16);
}

// out[ROWS][VECTORS * 16 dims from `dim`] of the chunk's blocks; starts from zero.
template <int ROWS, int VECTORS, int BITS>
void weigh_tile(const ChunkBlocks &c, const uint16_t *weights, int padded, int dim, float *out) {
    Vf total[ROWS][VECTORS];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < VECTORS; i++) total[r][i] = zero();
    }
    const int64_t values = values_offset<BITS>(padded);
    for (int b = c.first; b < c.end; b++) {
        const uint8_t *next = c.keys[b + kScoreBlocks < c.end ? b + kScoreBlocks : b] + values;
        for (int t = 0; t < 8; t++) {
            Words v[VECTORS];
            const int64_t at = (t * padded + dim) / 16;
#pragma GCC unroll 4
            for (int i = 0; i < VECTORS; i++) v[i] = load_pairs<BITS>(c.keys[b] + values, at + i);
#pragma GCC unroll 4
            for (int i = 0; i < VECTORS; i++) prefetch(next + (at + i) * (BITS * 4));
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; r++) {
                const uint32_t pair = two_halves(weights + r * kChunkLen + b * 16 + 2 * t);
#pragma GCC unroll 4
                for (int i = 0; i < VECTORS; i++) total[r][i] = dot_bf16(total[r][i], v[i], pair);
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < VECTORS; i++) store(out + (int64_t)r * padded + dim + i * 16, total[r][i]);
    }
}

template <int ROWS, int BITS>
INLINE void weigh_rows(const ChunkBlocks &c, const uint16_t *weights, int padded, float *out) {
    int dim = 0;
    for (; dim + 64 <= padded && kScoreBlocks == 4; dim += 64) weigh_tile<ROWS, 4, BITS>(c, weights, padded, dim, out);
    for (; dim + 32 <= padded; dim += 32) weigh_tile<ROWS, 2, BITS>(c, weights, padded, dim, out);
    for (; dim < padded; dim += 16) weigh_tile<ROWS, 1, BITS>(c, weights, padded, dim, out);
}

#include "attention_int4.h"

// Scores of one row into weights; `sees` are tokens of the chunk. Where it sees none, `top` is minus infinity.
template <int BITS>
INLINE void soften_row(const PcpuAttend &a, const ChunkBlocks &c, int padded, Range sees, float q_sum, float *scores,
                       uint16_t *weights, float *weight, float *top) {
    Vf most = splat(kNothing);
    for (int b = c.first; b < c.end; b++) {
        Vf x = load(scores + b * 16);
        if (BITS == 8) {
            const float *scales = (const float *)(c.keys[b] + (int64_t)32 * padded);
            x = mul(sub(x, splat(128.0f * q_sum)), load(scales));
        }
        x = mul(x, splat(a.scale));
        if (a.softcap > 0.0f) x = soft_cap(x, a.softcap);
        x = keep_lanes(x, sees.from - b * 16, sees.to - b * 16, kNothing);
        store(scores + b * 16, x);
        most = max(most, x);
    }
    *top = highest(most);
    Vf total = zero();
    for (int b = c.first; b < c.end; b++) {
        const Vf e = keep_lanes(exp(sub(load(scores + b * 16), splat(*top))), sees.from - b * 16, sees.to - b * 16, 0.0f);
        total = add(total, e);
        if (BITS == 8) {
            const float *scales = (const float *)(c.keys[b] + (int64_t)32 * padded) + 16;
            store_bf16(weights + b * 16, mul(e, load(scales)));
        } else if (BITS == 4) {
            weigh_steps(c.keys[b] + steps_offset(padded), padded / kGroup, e, weights + b * 16);
        } else {
            store_bf16(weights + b * 16, e);
        }
    }
    *weight = sum(total);
}

// Codes were stored as `bias` + code: take bias · Σ weights away again from `count` numbers.
INLINE void take_bias_away(const uint16_t *weights, int first, int end, float bias, int count, float *out) {
    float total = 0.0f;
    for (int i = first * 16; i < end * 16; i++) total += from_bf16(weights[i]);
    for (int i = 0; i < count; i += 16) store(out + i, sub(load(out + i), splat(bias * total)));
}

template <int COUNT>
struct Rows { static constexpr int count = COUNT; };

// Calls body(Rows<n>, first row) for groups of kScoreRows rows, then for what is left in one group.
template <class Body>
INLINE void for_row_groups(int num_rows, const Body &body) {
    int r = 0;
    for (; r + kScoreRows <= num_rows; r += kScoreRows) body(Rows<kScoreRows>(), r);
    const int left = num_rows - r;
    if (left == 1) body(Rows<1>(), r);
    if (left == 2 && kScoreRows > 2) body(Rows<(kScoreRows > 2 ? 2 : 1)>(), r);
    if (left == 3 && kScoreRows > 3) body(Rows<(kScoreRows > 3 ? 3 : 1)>(), r);
}

// The partial softmax of one chunk, [chunk * kChunkLen, + kChunkLen), of all the tile's rows.
template <int BITS>
void compute_chunk(const PcpuAttend &a, const Step &step, const TileRows &tile, const Queries &q, int chunk, Partial partial) {
    ChunkScores<BITS> work;
    const int padded = padded_head(*step.cache), start = chunk * kChunkLen;
    const Range seen = {visible(a, tile.position).from, tile.position + tile.num_tokens};
    ChunkBlocks c;
    c.first = seen.from > start ? (seen.from - start) / 16 : 0;
    c.end = seen.to - start < kChunkLen ? (seen.to - start + 15) / 16 : kChunkLen / 16;
    for (int b = c.first; b < c.end; b++) c.keys[b] = kv_block(step, tile.sequence, start + b * 16, a.pool, a.layer, tile.kv_head);
    c.look_ahead(values_offset<BITS>(padded));
    for_row_groups(tile.num_rows, [&](auto rows, int r) INLINE_BODY {
        if constexpr (BITS == 4) {
            score_rows_int4<rows.count>(c, q, r, padded, work.scores[r]);
        } else {
            score_rows<rows.count, BITS>(c, q.halves + r * padded, padded, work.scores[r]);
        }
    });
    for (int r = 0; r < tile.num_rows; r++) {
        Range sees = visible(a, tile.position + r / tile.num_heads);
        sees.from -= start, sees.to -= start;
        soften_row<BITS>(a, c, padded, sees, q.sums[r], work.scores[r], work.weights[0][r], partial.weight + r, partial.highest + r);
    }
    for_row_groups(tile.num_rows, [&](auto rows, int r) INLINE_BODY {
        if constexpr (BITS == 4) {
            weigh_rows_int4<rows.count>(c, work.weights[0][r], padded, partial.out + (int64_t)r * padded);
        } else {
            weigh_rows<rows.count, BITS>(c, work.weights[0][r], padded, partial.out + (int64_t)r * padded);
        }
    });
    for (int r = 0; BITS == 8 && r < tile.num_rows; r++) {
        take_bias_away(work.weights[0][r], c.first, c.end, 128.0f, padded, partial.out + (int64_t)r * padded);
    }
    for (int r = 0; BITS == 4 && r < tile.num_rows; r++) {
        float *out = partial.out + (int64_t)r * padded;
        for (int g = 0; g < padded / kGroup; g++) take_bias_away(work.weights[g][r], c.first, c.end, 8.0f, kGroup, out + g * kGroup);
    }
}

// e^(a - b) for a <= b, where a may be minus infinity.
INLINE float decay(float a, float b) {
    float lanes[16];
    if (!(a > kNothing)) return 0.0f;
    store(lanes, exp(splat(a - b)));
    return a == b ? 1.0f : lanes[0];
}

// total = total + part, for each row.
INLINE void merge(Partial total, Partial part, int num_rows, int padded) {
    for (int r = 0; r < num_rows; r++) {
        if (!(part.highest[r] > kNothing)) continue;
        const float top = total.highest[r] > part.highest[r] ? total.highest[r] : part.highest[r];
        const float keep = decay(total.highest[r], top), grow = decay(part.highest[r], top);
        float *out = total.out + (int64_t)r * padded;
        const float *more = part.out + (int64_t)r * padded;
        for (int i = 0; i < padded; i += 16) {
            store(out + i, fma(load(more + i), splat(grow), mul(load(out + i), splat(keep))));
        }
        total.weight[r] = total.weight[r] * keep + part.weight[r] * grow;
        total.highest[r] = top;
    }
}

INLINE void clear(Partial total, int num_rows, int padded) {
    for (int i = 0; i < num_rows * padded; i += 16) store(total.out + i, zero());
    for (int r = 0; r < num_rows; r++) total.weight[r] = 0.0f, total.highest[r] = kNothing;
}

INLINE void finish(const PcpuAttend &a, const TileRows &tile, int head_dim, int padded, Partial total) {
    for (int r = 0; r < tile.num_rows; r++) {
        const int64_t row = tile.first_row + r / tile.num_heads;
        const int column = (tile.first_head + r % tile.num_heads) * head_dim;
        float *out = total.out + (int64_t)r * padded;
        const Vf inverse = splat(1.0f / total.weight[r]);
        for (int i = 0; i < padded; i += 16) store(out + i, mul(load(out + i), inverse));
        if (a.dst.data) __builtin_memcpy(row_of(a.dst, row) + column, out, (size_t)head_dim * 4);
        for (int i = 0; i < a.num_forms; i++) write_piece(out, *a.forms[i], row, column, head_dim);
    }
}

INLINE TileRows rows_of_tile(const PcpuAttend &a, const Step &step, int64_t tile, int64_t head_tile) {
    const AttentionPlan &plan = step.attention;
    const int queries = a.num_heads / step.cache->num_kv_heads;
    const int tiles_per_head = plan.num_head_tiles / step.cache->num_kv_heads;
    const int s = plan.tile_sequences[tile], offset = plan.tile_offsets[tile];
    const int left = step.batch->lengths[s] - offset;
    const int group = (int)(head_tile % tiles_per_head) * plan.heads_per_tile;
    TileRows t;
    t.sequence = s;
    t.first_row = step.batch->starts[s] + offset;
    t.num_tokens = left < plan.tile_len ? left : plan.tile_len;
    t.position = step.batch->past[s] + offset;
    t.kv_head = (int)(head_tile / tiles_per_head);
    t.first_head = t.kv_head * queries + group;
    t.num_heads = queries - group < plan.heads_per_tile ? queries - group : plan.heads_per_tile;
    t.num_rows = t.num_tokens * t.num_heads;
    return t;
}

struct AttendMemory {
    Queries queries;
    alignas(64) float total[kMaxTileRows * (kMaxHeadDim + 2)];
    alignas(64) float part[kMaxTileRows * (kMaxHeadDim + 2)];
};

INLINE void compute_partial(const PcpuAttend &a, const Step &step, const TileRows &t, const Queries &q, int chunk, Partial out) {
    switch (step.cache->storage) {
        case PCPU_KV_INT8: return compute_chunk<8>(a, step, t, q, chunk, out);
        case PCPU_KV_INT4: return compute_chunk<4>(a, step, t, q, chunk, out);
        default: return compute_chunk<16>(a, step, t, q, chunk, out);
    }
}

struct Chunks { int first, end; };

INLINE Chunks chunks_of(const PcpuAttend &a, const TileRows &t) {
    return {visible(a, t.position).from / kChunkLen, (t.position + t.num_tokens + kChunkLen - 1) / kChunkLen};
}

inline void attend_tile(const PcpuAttend &a, const Step &step, const TileRows &t, AttendMemory &memory) {
    const int padded = padded_head(*step.cache);
    load_queries(a, t, step.cache->head_dim, padded, memory.queries);
    const Partial total = partial_at(memory.total, padded), part = partial_at(memory.part, padded);
    clear(total, t.num_rows, padded);
    const Chunks chunks = chunks_of(a, t);
    for (int chunk = chunks.first; chunk < chunks.end; chunk++) {
        compute_partial(a, step, t, memory.queries, chunk, part);
        merge(total, part, t.num_rows, padded);
    }
    finish(a, t, step.cache->head_dim, padded, total);
}

// One chunk of a tile; whoever finishes a tile's last chunk merges all of them, in order.
inline void attend_chunk(const PcpuAttend &a, const Step &step, const TileRows &t, int64_t item, int chunk, AttendMemory &memory) {
    const AttentionPlan &plan = step.attention;
    const Chunks chunks = chunks_of(a, t);
    if (chunk < chunks.first || chunk >= chunks.end) return;
    const int padded = padded_head(*step.cache);
    float *partials = plan.partials + item * plan.max_chunks * plan.partial_floats;
    load_queries(a, t, step.cache->head_dim, padded, memory.queries);
    compute_partial(a, step, t, memory.queries, chunk, partial_at(partials + chunk * plan.partial_floats, padded));
    if (__atomic_add_fetch(&plan.num_done[item], 1, __ATOMIC_ACQ_REL) < chunks.end - chunks.first) return;
    __atomic_store_n(&plan.num_done[item], 0, __ATOMIC_RELAXED);
    const Partial total = partial_at(memory.total, padded);
    clear(total, t.num_rows, padded);
    for (int c = chunks.first; c < chunks.end; c++) {
        merge(total, partial_at(partials + c * plan.partial_floats, padded), t.num_rows, padded);
    }
    finish(a, t, step.cache->head_dim, padded, total);
}

inline Phase attend_items(const void *, const Step &step, int) {
    const AttentionPlan &plan = step.attention;
    return {(int64_t)plan.num_tiles * plan.num_head_tiles * plan.max_chunks, 1};
}

inline void attend(const void *op, const Step &step, int64_t first, int64_t end) {
    const auto &a = *(const PcpuAttend *)op;
    const AttentionPlan &plan = step.attention;
    AttendMemory memory;
    for (int64_t i = first; i < end; i++) {
        const int64_t item = i / plan.max_chunks;
        const TileRows tile = rows_of_tile(a, step, item / plan.num_head_tiles, item % plan.num_head_tiles);
        if (plan.max_chunks == 1) {
            attend_tile(a, step, tile, memory);
        } else {
            attend_chunk(a, step, tile, item, (int)(i % plan.max_chunks), memory);
        }
    }
}
