// Low-rank additions to linear layers, for the rows whose sequences have an adapter: down before the layer, as a phase of its
// own that is empty where no row has one, and up within the layer, onto the sums of each panel.
//
// As everywhere, a row's sums are made by the same instructions in the same order, whoever shares a tile or a batch with it.
#pragma once

constexpr int64_t kShrinkRows = 32;  // of one item

INLINE int adapter_of(const PcpuBatch &batch, int64_t row) { return batch.adapters[batch.owners[row]]; }

// Calls body(adapter, row, rows) for neighbours with the same adapter, at most kMaxRows at once; rows without are passed over.
template <class Body>
INLINE void for_adapted(const PcpuBatch &batch, int64_t row, int64_t end, const Body &body) {
    while (row < end) {
        const int adapter = adapter_of(batch, row);
        int rows = 1;
        while (rows < kMaxRows && row + rows < end && adapter_of(batch, row + rows) == adapter) rows++;
        if (adapter >= 0) body(adapter, row, rows);
        row += rows;
    }
}

INLINE int64_t panels_of(const PcpuMatrix &matrix) { return (matrix.num_outputs + 15) / 16; }

// sums [rows][16] += one panel of a float16 or float32 matrix times `floats`.
INLINE void add_panel(const PcpuMatrix &matrix, int64_t panel, const float *floats, int64_t stride, int64_t row, int rows, float *sums) {
    const PcpuSegment &segment = matrix.segments[0];
    pick_tile(segment, false, rows)(segment, segment.data + panel * segment.panel_bytes, {nullptr, floats, stride, false}, row, sums);
}

inline Phase shrink_panels(const void *op, const Step &step, int num_workers) {
    const auto &s = *(const PcpuShrink *)op;
    if (!step.batch->adapters) return {0, 1};
    int64_t panels = 0;
    for (int i = 0; i < s.num_downs; i++) panels += panels_of(*s.downs[i].matrix);
    const int64_t items = panels * ((step.batch->num_tokens + kShrinkRows - 1) / kShrinkRows), count = items / (num_workers * 8);
    return {items, count < 1 ? 1 : count};
}

// An item is 16 ranks of one adapter for a block of rows.
inline void shrink(const void *op, const Step &step, int64_t first, int64_t end) {
    const auto &s = *(const PcpuShrink *)op;
    const PcpuBatch &batch = *step.batch;
    const int64_t num_blocks = (batch.num_tokens + kShrinkRows - 1) / kShrinkRows;
    for (int64_t item = first; item < end; item++) {
        int64_t panel = item / num_blocks;
        const PcpuDown *down = s.downs;
        for (; panel >= panels_of(*down->matrix); down++) panel -= panels_of(*down->matrix);
        const int64_t row = item % num_blocks * kShrinkRows, rest = batch.num_tokens - row;
        for_adapted(batch, row, row + (rest < kShrinkRows ? rest : kShrinkRows), [&](int adapter, int64_t at, int rows) INLINE_BODY {
            if (adapter != down->adapter) return;
            alignas(64) float sums[kMaxRows * 16];
            for (int r = 0; r < rows; r++) store(sums + r * 16, zero());
            add_panel(*down->matrix, panel, s.src.data, s.src.stride, at, rows, sums);
            for (int r = 0; r < rows; r++) {
                store(row_of(s.inner, at + r) + down->inner + panel * 16, mul(splat(down->scale), load(sums + r * 16)));
            }
        });
    }
}

// What adapters add to sums [rows][16] of a panel of the layer.
INLINE void add_adapters(const PcpuUps &u, const PcpuBatch &batch, int64_t panel, int64_t row, int rows, float *sums) {
    if (!batch.adapters || !u.num_ups) return;
    for_adapted(batch, row, row + rows, [&](int adapter, int64_t at, int count) INLINE_BODY {
        for (int i = 0; i < u.num_ups; i++) {
            const PcpuUp &up = u.ups[i];
            const int64_t own = panel - up.first_panel;
            if (up.adapter != adapter || own < 0 || own >= panels_of(*up.matrix)) continue;
            add_panel(*up.matrix, own, u.inner.data + up.inner, u.inner.stride, at, count, sums + (at - row) * 16);
        }
    });
}
