// Linear and gated layers: which panels and rows a worker computes, and what becomes of the sums.
#pragma once

// Activations that stay in the second-level cache while several panels pass over them.
constexpr int64_t kRowBlockBytes = 384 * 1024;
// From so many rows on, panels are taken a few at a time; below it a worker's whole range is a handful of pieces.
constexpr int64_t kManyRows = 48;

INLINE int64_t rows_per_block(int num_inputs, bool int8) {
    const int64_t rows = kRowBlockBytes / ((int64_t)num_inputs * (int8 ? 1 : 2)) / kMaxRows * kMaxRows;
    return rows < kMaxRows ? kMaxRows : rows;
}

INLINE Phase panel_phase(int64_t num_items, int num_workers, int64_t num_rows) {
    const int64_t pieces = num_rows >= kManyRows ? 16 : 6;
    const int64_t count = num_items / (num_workers * pieces);
    return {num_rows ? num_items : 0, count < 1 ? 1 : count > 16 ? 16 : count};
}

INLINE bool reads_int8(const Input &input) { return input.form && input.form->form == PCPU_INT8; }

// sums [rows][16] of one panel.
INLINE void compute_panel(const PcpuMatrix &matrix, const Input &input, int64_t panel, int64_t row, int rows, float *sums) {
    for (int r = 0; r < rows; r++) store(sums + r * 16, zero());
    for (int i = 0; i < matrix.num_segments; i++) {
        const PcpuSegment &segment = matrix.segments[i];
        const uint8_t *data = segment.data + panel * segment.panel_bytes;
        pick_tile(segment, reads_int8(input), rows)(segment, data, input, row, sums);
    }
}

struct Span { int64_t first, end; };

// Calls body(item, row, rows, first) for each item of a span and each tile of rows, `first` for an item's first tile. A block
// of rows stays near while items pass.
template <class Body>
INLINE void for_tiles(const Span &span, int64_t num_rows, int64_t block_rows, const Body &body) {
    for (int64_t first = 0; first < num_rows; first += block_rows) {
        const int64_t count = first + block_rows < num_rows ? block_rows : num_rows - first;
        const int64_t num_tiles = (count + kMaxRows - 1) / kMaxRows;
        for (int64_t item = span.first; item < span.end; item++) {
            for (int64_t t = 0; t < num_tiles; t++) {
                const int64_t row = count * t / num_tiles;
                body(item, first + row, (int)(count * (t + 1) / num_tiles - row), first + t == 0);
            }
        }
    }
}

INLINE int64_t num_panels(const PcpuMatrix &matrix) { return (matrix.num_outputs + 15) / 16; }

struct Target {
    float *data;
    int64_t stride;
};

// y + bias, then into dst or onto it; the last panel is cut where the outputs end.
INLINE void put(const PcpuLinear &op, const PcpuPart &part, const Target &target, int64_t panel, int64_t row, Vf y) {
    const int left = part.matrix->num_outputs - (int)panel * 16;
    if (part.bias) y = add(y, load(part.bias + panel * 16));
    float *out = target.data + row * target.stride + part.column + panel * 16;
    if (part.add) {
        y = fma(splat(part.scale), y, load_first(out, left));
    } else if (op.logits) {
        y = mul(y, splat(part.scale));
        if (op.softcap > 0.0f) y = soft_cap(y, op.softcap);
    }
    if (left >= 16) {
        store(out, y);
    } else {
        store_first(out, y, left);
    }
}

INLINE int64_t linear_rows(const PcpuLinear &l, const Step &step) {
    return l.logits ? step.batch->num_logit_rows : step.batch->num_tokens;
}

inline Phase linear_panels(const void *op, const Step &step, int num_workers) {
    const auto &l = *(const PcpuLinear *)op;
    int64_t total = 0;
    for (int i = 0; i < l.num_parts; i++) total += num_panels(*l.parts[i].matrix);
    return panel_phase(total, num_workers, linear_rows(l, step));
}

inline void linear(const void *op, const Step &step, int64_t first, int64_t end) {
    const auto &l = *(const PcpuLinear *)op;
    for (int i = 0; i < l.num_parts; i++) {
        const PcpuPart &part = l.parts[i];
        const int64_t here = num_panels(*part.matrix);
        const Span own = {first > 0 ? first : 0, end < here ? end : here};
        first -= here, end -= here;
        if (own.first >= own.end) continue;
        const bool int8 = part.x && part.x->form == PCPU_INT8;
        const Target target = l.logits ? Target{step.batch->logits, step.batch->logits_stride}
                                       : Target{part.dst.data, part.dst.stride};
        const int64_t block = rows_per_block(part.matrix->num_inputs, int8);
        for_tiles(own, linear_rows(l, step), block, [&](int64_t panel, int64_t row, int rows, bool first_tile) INLINE_BODY {
            alignas(64) float sums[kMaxRows * 16];
            compute_panel(*part.matrix, {part.x, part.src.data, part.src.stride, first_tile}, panel, row, rows, sums);
            if (!l.logits) add_adapters(part.adapted, *step.batch, panel, row, rows, sums);
            for (int r = 0; r < rows; r++) put(l, part, target, panel, row + r, load(sums + r * 16));
        });
    }
}

INLINE Vf gate_value(int activation, Vf gate, Vf up) {
    return mul(activation == PCPU_SILU ? silu(gate) : gelu_tanh(gate), up);
}

// An item is 32 outputs, so that whoever computes them can also bring them into the form that the next layer reads.
inline Phase gated_pairs(const void *op, const Step &step, int num_workers) {
    return panel_phase((((const PcpuGated *)op)->gate->num_outputs + 31) / 32, num_workers, step.batch->num_tokens);
}

// 16 of an item's outputs for some rows, zeros beyond the last output; `out` is [rows][32]. `batch` is who the rows are, or
// null where they have no adapters.
INLINE void gated_panel(const PcpuGated &g, const PcpuBatch *batch, int64_t panel, int64_t row, int rows, bool first_tile, float *out) {
    alignas(64) float gates[kMaxRows * 16], ups[kMaxRows * 16];
    const int left = g.gate->num_outputs - (int)panel * 16;
    if (left <= 0) {
        for (int r = 0; r < rows; r++) store(out + r * 32, zero());
        return;
    }
    compute_panel(*g.gate, {g.gate_x, g.src.data, g.src.stride, first_tile}, panel, row, rows, gates);
    compute_panel(*g.up, {g.up_x, g.src.data, g.src.stride, first_tile}, panel, row, rows, ups);
    if (batch) {
        add_adapters(g.gate_adapted, *batch, panel, row, rows, gates);
        add_adapters(g.up_adapted, *batch, panel, row, rows, ups);
    }
    for (int r = 0; r < rows; r++) {
        const Vf value = gate_value(g.activation, load(gates + r * 16), load(ups + r * 16));
        store(out + r * 32, keep_lanes(value, 0, left, 0.0f));
    }
}

// An item for some rows: into dst, and into the form that the next layer reads.
INLINE void gated_item(const PcpuGated &g, const PcpuBatch *batch, int64_t item, int64_t row, int rows, bool first_tile) {
    alignas(64) float values[kMaxRows * 32];
    gated_panel(g, batch, 2 * item, row, rows, first_tile, values);
    gated_panel(g, batch, 2 * item + 1, row, rows, first_tile, values + 16);
    for (int r = 0; r < rows; r++) {
        if (g.dst.data) {
            float *out = row_of(g.dst, row + r) + item * 32;
            store(out, load(values + r * 32));
            store(out + 16, load(values + r * 32 + 16));
        }
        if (g.form) write_piece(values + r * 32, *g.form, row + r, (int)item * 32, 32);
    }
}

INLINE int64_t gated_block(const PcpuGated &g) {
    return rows_per_block(g.gate->num_inputs, g.gate_x && g.gate_x->form == PCPU_INT8);
}

inline void gated(const void *op, const Step &step, int64_t first, int64_t end) {
    const auto &g = *(const PcpuGated *)op;
    for_tiles({first, end}, step.batch->num_tokens, gated_block(g), [&](int64_t item, int64_t row, int rows, bool first_tile)
                  INLINE_BODY { gated_item(g, step.batch, item, row, rows, first_tile); });
}
