// The border between the part that is compiled once, for any CPU, and the part that is compiled once per instruction set.
//
// Only plain structures and plain functions cross it. The kernels use nothing from the C++ library that is not a plain
// inline expression: a template instantiated with AVX-512 flags and merged by the linker with its baseline twin would
// bring illegal instructions to machines that never asked for the variant (tests/…/test_variants.py looks for them).
#pragma once

#include "records.h"
#include "team.h"

namespace pcpu {

// What attention needs to know about a step, made once per step before the threads start (plan.cpp).
struct AttentionPlan {
    int tile_len;               // tokens of one tile
    int num_tiles;
    const int *tile_sequences;  // [num_tiles]
    const int *tile_offsets;    // [num_tiles], first token of the tile within its sequence's tokens
    int heads_per_tile;         // query heads of one KV head that are computed together
    int num_head_tiles;         // num_kv_heads * ceil(queries per KV head / heads_per_tile)
    int max_chunks;             // 1: a tile is computed by one worker; else each chunk of its context may be by another
    float *partials;            // [tile][head tile][chunk][partial_floats]
    int *num_done;              // [tile][head tile], zero between phases
    int64_t partial_floats;
};

struct Step {
    const PcpuBatch *batch;
    const PcpuCache *cache;
    AttentionPlan attention;
};

// An operation as items that any worker may compute, in any order; `phase` says how many for a batch. Operations that go row
// by row have rows for items, so that several of them may follow one another on the same rows within one phase.
struct Operation {
    Phase (*phase)(const void *op, const Step &step, int num_workers);
    void (*compute)(const void *op, const Step &step, int64_t first, int64_t end);
};

struct Kernels {
    const char *name;
    Operation operations[PCPU_NUM_KINDS];
    // The `count` best of `size` numbers, best first, the lower index first among equals; NaN is never chosen.
    int (*top)(const float *values, int64_t size, int count, int32_t *indices, float *best);
};

constexpr int kMaxTop = 4096;      // the most that `top` is asked for
constexpr int kMaxHeadDim = 256;
constexpr int kMaxTileRows = 16;   // query rows of one attention tile
constexpr int kChunkLen = 256;     // tokens of one partial softmax; a constant of the results, not a tuning knob

const Kernels *kernels_portable();
const Kernels *kernels_avx2();
const Kernels *kernels_avx2_vnni();
const Kernels *kernels_avx512_vnni();
const Kernels *kernels_avx512_bf16();
const Kernels *kernels_neon_dot();

}  // namespace pcpu
