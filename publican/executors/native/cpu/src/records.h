// The plain C structures that Python fills in (records.py mirrors this file, in the same order) and the kernels read.
//
// A program is an array of `PcpuRecord`, made once when a model is loaded. Per step only `PcpuBatch` changes. Nothing here
// owns memory: every pointer is kept alive by the caller for as long as it may be used.
#pragma once

#include <stdint.h>

#define PCPU_ABI 2

// Rows of every buffer are this many floats apart at least, with zeros behind the last number: kernels read whole vectors.
#define PCPU_PAD 32
// Outputs of one panel of packed weights, and tokens of one block of the KV cache.
#define PCPU_LANES 16

enum PcpuError {
    PCPU_OK = 0,
    PCPU_BAD_RECORD = 1,      // a record with a missing pointer, an unknown kind or sizes that disagree
    PCPU_BAD_BATCH = 2,       // a token, position, page or row out of range
    PCPU_BAD_MATRIX = 3,      // a matrix that cannot be packed, or was not
    PCPU_NO_VARIANT = 4,      // the CPU lacks what the variant needs, or it was not compiled
    PCPU_NO_MEMORY = 5,
    PCPU_NO_THREADS = 6,
    PCPU_BUSY = 7,            // two threads in one engine
};

// How the weights of a segment are stored. The K inputs of a panel follow one another; see pack.h for the drawings.
enum PcpuStorage { PCPU_CODES4 = 0, PCPU_CODES8 = 1, PCPU_BF16 = 2, PCPU_F16 = 3, PCPU_F32 = 4 };

struct PcpuSegment {
    const uint8_t *data;       // panels of 16 outputs, one after the other
    int64_t panel_bytes;
    int32_t storage;
    int32_t block_len;         // inputs that share one integer sum: 16 or 32 (codes), 4 (bf16), 1 (f16, f32)
    int32_t blocks_per_group;  // blocks that share a scale and an offset
    int32_t num_blocks;
    int32_t wide_scales;       // scales and offsets are float32, else float16
    int32_t first_input;       // where its inputs begin in a row of the activation; a multiple of 32
};

struct PcpuMatrix {
    const struct PcpuSegment *segments;
    int32_t num_segments;
    int32_t num_outputs;
    int32_t num_inputs;        // width of the activation it reads, padding included
};

struct PcpuBuffer {
    float *data;               // [rows][stride]
    int32_t width;
    int32_t stride;
};

enum PcpuForm { PCPU_INT8 = 0, PCPU_HALVES = 1 };

// Rows of a buffer in the form that matrices of codes (or of bf16) read.
struct PcpuActivation {
    int32_t form;
    int32_t width;             // a multiple of 32
    const int32_t *gather;     // [width], which number of the buffer's row each one is, -1 for zero; null for the identity
    int8_t *codes;             // [rows][width]                                            int8 only
    float *scales;             // [rows][width / 32]                                       int8 only
    uint16_t *halves;          // [rows][width], bf16; of every four the middle two swapped   bf16 only
    float *sums;               // [rows][width / 32], of what the row's numbers became
    float *sums16;             // [rows][width / 16]
};

enum PcpuKind {
    PCPU_EMBED = 0,
    PCPU_NORM = 1,
    PCPU_CONVERT = 2,
    PCPU_ADD = 3,
    PCPU_STORE_KV = 4,
    PCPU_LINEAR = 5,
    PCPU_GATED = 6,
    PCPU_ATTEND = 7,
    PCPU_FINAL_NORM = 8,
    PCPU_ROUTE = 9,
    PCPU_GROUP = 10,
    PCPU_SPREAD = 11,
    PCPU_EXPERT_GATED = 12,
    PCPU_EXPERT_CONVERT = 13,
    PCPU_EXPERT_DOWN = 14,
    PCPU_COMBINE = 15,
    PCPU_SHRINK = 16,
    PCPU_NUM_KINDS = 17,
};

// dst[m] = scale * table[token of m]. Either `table` (packed) or `rows` (row-major, dense) is set.
struct PcpuEmbed {
    struct PcpuBuffer dst;
    const struct PcpuMatrix *table;
    const int32_t *gather;     // of a packed table with ordered inputs
    const void *rows;
    int32_t rows_storage;      // PCPU_BF16, PCPU_F16 or PCPU_F32
    int32_t num_tokens;
    float scale;
};

// RMSNorm; also PCPU_FINAL_NORM, which takes the rows that want logits (to `forms` and dst) or hidden states.
struct PcpuNorm {
    struct PcpuBuffer src;
    struct PcpuBuffer dst;
    const float *weight;       // padded to the stride of src
    float eps;
    int32_t num_forms;
    const struct PcpuActivation *const *forms;
};

struct PcpuConvert {
    struct PcpuBuffer src;
    int32_t num_forms;
    const struct PcpuActivation *const *forms;
};

struct PcpuAdd {
    struct PcpuBuffer src, dst;
    float scale;
};

// Of one adapter: inner[m][inner:] = scale * (matrix * src[m]), for its rows m.
struct PcpuDown {
    const struct PcpuMatrix *matrix;  // [rank][inputs], F16 or F32
    int32_t adapter;
    int32_t inner;                    // where its ranks begin, rounded up to 16 of them
    float scale;
};

struct PcpuShrink {
    struct PcpuBuffer src, inner;
    const struct PcpuDown *downs;
    int32_t num_downs;
};

// Of one adapter: the layer's y[m][16 * first_panel:] += matrix * inner[m][inner:], for its rows m.
struct PcpuUp {
    const struct PcpuMatrix *matrix;  // [outputs][rank], F16 or F32
    int32_t adapter;
    int32_t inner;
    int32_t first_panel;
};

struct PcpuUps {
    struct PcpuBuffer inner;          // left by the PCPU_SHRINK before
    const struct PcpuUp *ups;
    int32_t num_ups;
};

// y = matrix * x + bias and what adapters add; then dst[:, column:] = y, or with add: dst += scale * y.
struct PcpuPart {
    const struct PcpuMatrix *matrix;
    const struct PcpuActivation *x;  // null for F16 and F32 matrices, which read `src`
    struct PcpuBuffer src;
    struct PcpuBuffer dst;
    const float *bias;               // padded to 16, or null
    int32_t column;
    int32_t add;
    float scale;
    struct PcpuUps adapted;
};

struct PcpuLinear {
    const struct PcpuPart *parts;    // independent of one another; run as one phase
    int32_t num_parts;
    int32_t logits;                  // the rows that want logits, into the batch's own: y = softcap(scale * y)
    float softcap;
};

enum PcpuGate { PCPU_SILU = 0, PCPU_GELU_TANH = 1 };

// dst = activation(gate * x) * (up * x)
struct PcpuGated {
    const struct PcpuMatrix *gate, *up;
    const struct PcpuActivation *gate_x, *up_x;
    struct PcpuBuffer src;
    struct PcpuBuffer dst;               // data is null where only `form` is read
    const struct PcpuActivation *form;   // without gather, or null
    int32_t activation;
    struct PcpuUps gate_adapted, up_adapted;
};

struct PcpuStoreKV {
    struct PcpuBuffer src;     // [q heads | k heads | v heads]
    const float *cos, *sin;    // [context_len][rope_half], or null for no rotation
    int32_t rope_half;
    int32_t context_len;
    const float *q_norm, *k_norm;  // or null
    int32_t norm_width;        // 0: over each head; else over all heads together
    float eps;
    int32_t layer;             // among those of its pool
    int32_t pool;
    int32_t num_heads;
};

struct PcpuAttend {
    struct PcpuBuffer src, dst;    // dst.data is null where only the forms are read
    int32_t num_forms;
    const struct PcpuActivation *const *forms;  // without gather, and only if head_dim is a multiple of 32
    int32_t layer;
    int32_t pool;
    int32_t num_heads;
    int32_t window;
    float scale;
    float softcap;
};

// Which experts each row goes through, and which rows each expert has. A *place* is one row in one expert; those of an expert
// are neighbours, in the order of their rows. Written in every layer by PCPU_ROUTE (experts, weights) and PCPU_GROUP (the rest).
struct PcpuRouting {
    int32_t num_experts;
    int32_t num_chosen;
    int32_t *experts;          // [max_tokens][num_chosen], the likeliest first
    float *weights;            // [max_tokens][num_chosen]
    int32_t *places;           // [max_tokens][num_chosen]
    int32_t *rows, *owners;    // [max_tokens * num_chosen], the row and the expert of each place
    int32_t *starts;           // [num_experts + 1], first place of each expert
    int32_t *active;           // [num_experts], those that have rows, in order
    int32_t *num_active;       // [1]
};

// PCPU_ROUTE: a row of scores becomes probabilities, and the best of them are chosen, the lower number first among equals.
struct PcpuRoute {
    struct PcpuBuffer scores;  // num_experts numbers, and perhaps one behind them, which is left alone
    const struct PcpuRouting *routing;
    int32_t normalised;        // the weights of a row's experts add up to one
};

// One expert. Its buffers and forms have a row for each place; only gathers are its own, memory is every expert's.
struct PcpuExpert {
    struct PcpuGated gated;
    struct PcpuPart down;
    const struct PcpuActivation *inner;  // the form that `down` reads, where `gated` cannot leave it behind; or null
};

// PCPU_SPREAD (rows of src to the forms that gate and up read, at each place), PCPU_EXPERT_GATED, PCPU_EXPERT_CONVERT (to
// `inner`) and PCPU_EXPERT_DOWN, one after another with the same structure; PCPU_GROUP needs nothing but its routing.
struct PcpuExperts {
    const struct PcpuExpert *experts;  // [num_experts], all of one shape
    const struct PcpuRouting *routing;
    struct PcpuBuffer src;
    struct PcpuBuffer spread;  // data is null where no gate or up reads floats
};

// dst[m] = sum of weight * src[place] over the places of row m, plus sigmoid(scores[m][num_experts]) * shared[m].
struct PcpuCombine {
    struct PcpuBuffer src;     // a row for each place
    struct PcpuBuffer dst;
    struct PcpuBuffer shared;  // may be dst; data is null for none
    struct PcpuBuffer scores;
    const struct PcpuRouting *routing;
};

struct PcpuRecord {
    int32_t kind;
    const void *op;
};

struct PcpuProgram {
    const struct PcpuRecord *records;
    int32_t num_records;
    int32_t max_tokens;        // rows of every buffer and form
    int32_t max_logits;        // rows of what PCPU_FINAL_NORM writes
};

enum PcpuKvStorage { PCPU_KV_BF16 = 0, PCPU_KV_INT8 = 1, PCPU_KV_INT4 = 2 };

// Pages of some layers: [layer][block of 16 tokens][kv head] of one K and one V each; see kv.h.
struct PcpuPool {
    uint8_t *data;
    int64_t page_bytes;
    int32_t num_pages;
    int32_t num_layers;        // none: the rest means nothing
};

// The KV cache: the layers that keep everything, and those with a window that give back what has passed.
struct PcpuCache {
    struct PcpuPool pools[2];
    int32_t page_len;          // a multiple of 16
    int32_t num_kv_heads;
    int32_t head_dim;
    int32_t storage;
};

struct PcpuBatch {
    int32_t num_tokens, num_sequences;
    int32_t table_width;       // page entries per sequence
    int32_t num_logit_rows, num_hidden_rows;
    const int32_t *tokens, *positions, *owners;
    const int32_t *starts, *lengths, *past;
    const int32_t *pages;           // [num_sequences][table_width], of the first pool
    const int32_t *windowed_pages;  // of the second; what lies before a layer's window is never read
    const int32_t *logit_rows, *hidden_rows;
    const int32_t *adapters;   // [num_sequences], -1 for none; null where no sequence has one
    float *logits;             // [num_logit_rows][logits_stride]
    int64_t logits_stride;
    float *hidden;             // [num_hidden_rows][hidden_stride]
    int64_t hidden_stride;
};

// A matrix as it is in a file, on its way into panels; see pack.h.
struct PcpuSource {
    const void *values;        // uint8 codes [num_outputs][row_stride], or uint16 / float32 numbers
    int64_t row_stride;        // in elements
    const float *scales;       // [num_outputs][scale_stride]; codes only
    const float *offsets;
    int64_t scale_stride;
    int32_t num_outputs;
    int32_t num_inputs;
    int32_t group_len;
};
