// Mixtures of experts: who goes where, and then linear layers as any other, on the rows that each expert has.
//
// How many items a phase has follows from the batch alone, never from what was chosen: a worker that comes late asks again
// (team.h). So the phases of experts have room for as many as could be busy, and the last of them may be empty.
#pragma once

inline void route(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &r = *(const PcpuRoute *)op;
    const int count = r.routing->num_experts, chosen = r.routing->num_chosen;
    for (int64_t row = first; row < end; row++) {
        float *p = row_of(r.scores, row);
        Vf top = splat(-3.4e38f), total = zero();
        for (int i = 0; i < count; i += 16) top = max(top, keep_lanes(load(p + i), 0, count - i, -3.4e38f));
        const Vf most = splat(highest(top));
        for (int i = 0; i < count; i += 16) {
            const Vf score = load(p + i), sound = sub(score, score);  // zero, or NaN where the score is no number
            const Vf e = keep_lanes(add(exp(sub(score, most)), sound), 0, count - i, 0.0f);
            total = add(total, e);
            store_first(p + i, e, count - i);
        }
        int32_t *experts = r.routing->experts + row * chosen;
        float *weights = r.routing->weights + row * chosen;
        float sum_chosen = 0.0f;
        for (int n = 0; n < chosen; n++) {
            int best = -1;
            for (int e = 0; e < count; e++) {
                if (p[e] != -1.0f && (best < 0 || p[e] > p[best])) best = e;
            }
            experts[n] = best;
            weights[n] = p[best];
            sum_chosen += p[best];
            p[best] = -1.0f;  // taken
        }
        const float whole = r.normalised ? sum_chosen : sum(total);
        for (int n = 0; n < chosen; n++) weights[n] /= whole;
    }
}

inline Phase group_phase(const void *, const Step &step, int) { return {step.batch->num_tokens ? 1 : 0, 1}; }

// A counting sort of the choices by their experts.
inline void group(const void *op, const Step &step, int64_t, int64_t) {
    const PcpuRouting &r = *((const PcpuExperts *)op)->routing;
    const int32_t count = step.batch->num_tokens * r.num_chosen;
    int32_t *next = r.active;  // while counting; of use as such only afterwards
    for (int e = 0; e < r.num_experts; e++) next[e] = 0;
    for (int32_t i = 0; i < count; i++) next[r.experts[i]]++;
    int32_t place = 0;
    for (int e = 0; e < r.num_experts; e++) {
        r.starts[e] = place;
        place += next[e];
        next[e] = r.starts[e];
    }
    r.starts[r.num_experts] = place;
    for (int32_t i = 0; i < count; i++) {
        const int32_t expert = r.experts[i], here = next[expert]++;
        r.places[i] = here;
        r.rows[here] = i / r.num_chosen;
        r.owners[here] = expert;
    }
    int32_t active = 0;
    for (int e = 0; e < r.num_experts; e++) {
        if (r.starts[e] < r.starts[e + 1]) r.active[active++] = e;
    }
    *r.num_active = active;
}

inline int64_t num_places(const PcpuExperts &m, const Step &step) {
    return (int64_t)step.batch->num_tokens * m.routing->num_chosen;
}

inline Phase place_rows(const void *op, const Step &step, int num_workers) {
    const int64_t places = num_places(*(const PcpuExperts *)op, step), count = places / (2 * num_workers);
    return {places, count < 1 ? 1 : count};
}

inline void spread(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &m = *(const PcpuExperts *)op;
    for (int64_t place = first; place < end; place++) {
        const PcpuGated &g = m.experts[m.routing->owners[place]].gated;
        const float *x = row_of(m.src, m.routing->rows[place]);
        if (g.gate_x) write_row(x, *g.gate_x, place);
        if (g.up_x && g.up_x != g.gate_x) write_row(x, *g.up_x, place);
        if (!m.spread.data) continue;
        float *out = row_of(m.spread, place);
        for (int i = 0; i < m.src.stride; i += 16) store(out + i, load(x + i));
    }
}

inline void convert_inner(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &m = *(const PcpuExperts *)op;
    for (int64_t place = first; place < end; place++) {
        const PcpuExpert &e = m.experts[m.routing->owners[place]];
        if (e.inner) write_row(row_of(e.gated.dst, place), *e.inner, place);
    }
}

// `per_expert` items for every expert that could be busy.
INLINE Phase expert_phase(const PcpuExperts &m, const Step &step, int num_workers, int64_t per_expert) {
    const int64_t places = num_places(m, step), experts = m.routing->num_experts;
    return panel_phase((places < experts ? places : experts) * per_expert, num_workers, step.batch->num_tokens);
}

// Calls body(expert, items, first place, number of places) for the experts of a span.
template <class Body>
INLINE void for_experts(const PcpuExperts &m, int64_t per_expert, Span span, const Body &body) {
    while (span.first < span.end) {
        const int64_t index = span.first / per_expert, begin = index * per_expert;
        if (index >= *m.routing->num_active) return;
        const int expert = m.routing->active[index];
        const int64_t last = span.end - begin < per_expert ? span.end - begin : per_expert;
        const int start = m.routing->starts[expert];
        body(m.experts[expert], Span{span.first - begin, last}, start, m.routing->starts[expert + 1] - start);
        span.first = begin + last;
    }
}

INLINE int64_t expert_pairs(const PcpuExperts &m) { return (m.experts[0].gated.gate->num_outputs + 31) / 32; }

inline Phase expert_gated_phase(const void *op, const Step &step, int num_workers) {
    const auto &m = *(const PcpuExperts *)op;
    return expert_phase(m, step, num_workers, expert_pairs(m));
}

inline void expert_gated(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &m = *(const PcpuExperts *)op;
    for_experts(m, expert_pairs(m), {first, end}, [&](const PcpuExpert &e, Span items, int64_t start, int64_t count) {
        for_tiles(items, count, gated_block(e.gated), [&](int64_t item, int64_t row, int rows, bool first_tile)
                      INLINE_BODY { gated_item(e.gated, nullptr, item, start + row, rows, first_tile); });
    });
}

inline Phase expert_down_phase(const void *op, const Step &step, int num_workers) {
    const auto &m = *(const PcpuExperts *)op;
    return expert_phase(m, step, num_workers, num_panels(*m.experts[0].down.matrix));
}

inline void expert_down(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &m = *(const PcpuExperts *)op;
    const PcpuLinear plain = {nullptr, 1, 0, 0.0f};
    const int64_t panels = num_panels(*m.experts[0].down.matrix);
    for_experts(m, panels, {first, end}, [&](const PcpuExpert &e, Span items, int64_t start, int64_t count) {
        const PcpuPart &part = e.down;
        const int64_t block = rows_per_block(part.matrix->num_inputs, part.x && part.x->form == PCPU_INT8);
        for_tiles(items, count, block, [&](int64_t panel, int64_t row, int rows, bool first_tile) INLINE_BODY {
            alignas(64) float sums[kMaxRows * 16];
            const Input input = {part.x, part.src.data, part.src.stride, first_tile};
            compute_panel(*part.matrix, input, panel, start + row, rows, sums);
            for (int r = 0; r < rows; r++) {
                put(plain, part, {part.dst.data, part.dst.stride}, panel, start + row + r, load(sums + r * 16));
            }
        });
    });
}

inline void combine(const void *op, const Step &, int64_t first, int64_t end) {
    const auto &c = *(const PcpuCombine *)op;
    const int chosen = c.routing->num_chosen;
    for (int64_t row = first; row < end; row++) {
        const int32_t *places = c.routing->places + row * chosen;
        const float *weights = c.routing->weights + row * chosen;
        const Vf score = c.shared.data ? splat(row_of(c.scores, row)[c.routing->num_experts]) : zero();
        const Vf all = div(splat(1.0f), add(splat(1.0f), exp(sub(zero(), score))));
        float *out = row_of(c.dst, row);
        for (int i = 0; i < c.dst.stride; i += 16) {
            Vf y = zero();
            for (int n = 0; n < chosen; n++) y = fma(splat(weights[n]), load(row_of(c.src, places[n]) + i), y);
            if (c.shared.data) y = fma(all, load(row_of(c.shared, row) + i), y);
            store(out + i, y);
        }
    }
}
