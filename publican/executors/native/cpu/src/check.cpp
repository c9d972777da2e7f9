#include "check.h"

#include "kernels.h"
#include "pack.h"

namespace pcpu {
namespace {

bool ok_buffer(const PcpuBuffer &b) {
    return b.data && b.width > 0 && b.stride >= b.width && b.stride % PCPU_PAD == 0;
}

bool ok_segment(const PcpuSegment &s, int num_inputs) {
    const bool codes = s.storage == PCPU_CODES4 || s.storage == PCPU_CODES8;
    const int64_t end = s.first_input + (int64_t)s.num_blocks * s.block_len;
    if (!s.data || s.num_blocks < 1 || s.first_input < 0 || s.first_input % 32 || end > num_inputs) return false;
    if (codes ? (s.block_len != 16 && s.block_len != 32) || s.blocks_per_group < 1
              : s.block_len != (s.storage == PCPU_BF16 ? 4 : 1) || s.storage < 0 || s.storage > PCPU_F32) {
        return false;
    }
    return s.panel_bytes == panel_bytes(s);
}

bool reads_floats(const PcpuMatrix &m) { return m.segments[0].storage == PCPU_F16 || m.segments[0].storage == PCPU_F32; }

bool ok_matrix(const PcpuMatrix *m) {
    if (!m || !m->segments || m->num_segments < 1 || m->num_outputs < 1 || m->num_inputs < 1) return false;
    for (int i = 0; i < m->num_segments; i++) {
        if (!ok_segment(m->segments[i], m->num_inputs)) return false;
    }
    return !reads_floats(*m) || m->num_segments == 1;
}

bool ok_form(const PcpuActivation *a) {
    if (!a || a->width < 32 || a->width % 32 || !a->sums || !a->sums16) return false;
    return a->form == PCPU_INT8 ? a->codes && a->scales : a->form == PCPU_HALVES && a->halves;
}

// A matrix and what it reads: a form of its width, or a buffer.
bool ok_product(const PcpuMatrix *m, const PcpuActivation *x, const PcpuBuffer &src) {
    if (!ok_matrix(m)) return false;
    if (reads_floats(*m)) return ok_buffer(src) && src.stride >= m->num_inputs;
    const bool bf16 = m->segments[0].storage == PCPU_BF16;
    return ok_form(x) && x->width == m->num_inputs && !(bf16 && x->form != PCPU_HALVES);
}

bool ok_forms(int count, const PcpuActivation *const *forms, int readable) {
    if (count < 0 || (count && !forms)) return false;
    for (int i = 0; i < count; i++) {
        if (!ok_form(forms[i]) || (!forms[i]->gather && forms[i]->width > readable)) return false;
    }
    return true;
}

bool ok_pieces(int count, const PcpuActivation *const *forms, int width) {
    if (!ok_forms(count, forms, (width + 31) / 32 * 32)) return false;
    for (int i = 0; i < count; i++) {
        if (forms[i]->gather) return false;
    }
    return true;
}

bool ok(const PcpuEmbed &e) {
    if (!ok_buffer(e.dst) || e.num_tokens < 1) return false;
    if (e.table) return ok_matrix(e.table) && e.table->num_outputs >= e.num_tokens;
    return e.rows && e.rows_storage >= PCPU_BF16 && e.rows_storage <= PCPU_F32;
}

bool ok(const PcpuNorm &n) {
    return ok_buffer(n.src) && ok_buffer(n.dst) && n.dst.stride == n.src.stride && n.weight &&
           ok_forms(n.num_forms, n.forms, n.src.stride);
}

bool ok_low_rank(const PcpuMatrix *m, const PcpuBuffer &inner, int first, int count) {
    return ok_matrix(m) && reads_floats(*m) && ok_buffer(inner) && first >= 0 && first <= inner.stride - count;
}

bool ok(const PcpuShrink &s) {
    if (!ok_buffer(s.src) || s.num_downs < 0 || (s.num_downs && !s.downs)) return false;
    for (int i = 0; i < s.num_downs; i++) {
        const PcpuDown &d = s.downs[i];
        if (!d.matrix || !ok_low_rank(d.matrix, s.inner, d.inner, (d.matrix->num_outputs + 15) / 16 * 16)) return false;
        if (d.matrix->num_inputs > s.src.stride) return false;
    }
    return true;
}

// What is added to the outputs of `m`.
bool ok_ups(const PcpuUps &u, const PcpuMatrix &m) {
    if (u.num_ups < 0 || (u.num_ups && !u.ups)) return false;
    for (int i = 0; i < u.num_ups; i++) {
        const PcpuUp &up = u.ups[i];
        if (!up.matrix || !ok_low_rank(up.matrix, u.inner, up.inner, up.matrix->num_inputs)) return false;
        if (up.first_panel < 0 || up.first_panel + (up.matrix->num_outputs + 15) / 16 > (m.num_outputs + 15) / 16) return false;
    }
    return true;
}

bool ok(const PcpuLinear &l) {
    if (!l.parts || l.num_parts < 1 || (l.logits && l.num_parts != 1)) return false;
    for (int i = 0; i < l.num_parts; i++) {
        const PcpuPart &p = l.parts[i];
        if (!ok_product(p.matrix, p.x, p.src) || p.column < 0 || !ok_ups(p.adapted, *p.matrix)) return false;
        if (!l.logits && !(ok_buffer(p.dst) && p.column + p.matrix->num_outputs <= p.dst.width)) return false;
    }
    return true;
}

bool ok(const PcpuGated &g) {
    if (!ok_product(g.gate, g.gate_x, g.src) || !ok_product(g.up, g.up_x, g.src)) return false;
    if (!ok_ups(g.gate_adapted, *g.gate) || !ok_ups(g.up_adapted, *g.up)) return false;
    const int width = g.gate->num_outputs;
    if (g.up->num_outputs != width || (!g.dst.data && !g.form)) return false;
    if (g.dst.data && !(ok_buffer(g.dst) && g.dst.width == width)) return false;
    return !g.form || ok_pieces(1, &g.form, width);
}

bool ok_heads(int num_heads, int pool, int layer, const PcpuCache &c) {
    if (num_heads < 1 || num_heads % c.num_kv_heads || pool < 0 || pool > 1) return false;
    return layer >= 0 && layer < c.pools[pool].num_layers;
}

bool ok(const PcpuStoreKV &s, const PcpuCache &c) {
    const int width = (s.num_heads + 2 * c.num_kv_heads) * c.head_dim;
    if (!ok_buffer(s.src) || !ok_heads(s.num_heads, s.pool, s.layer, c) || s.src.width < width) return false;
    return !s.cos || (s.sin && s.rope_half > 0 && 2 * s.rope_half <= c.head_dim && s.context_len > 0);
}

bool ok(const PcpuAttend &a, const PcpuCache &c) {
    if (!ok_buffer(a.src) || !ok_heads(a.num_heads, a.pool, a.layer, c) || a.window < 0 || (a.pool && !a.window)) return false;
    const int width = a.num_heads * c.head_dim;
    if (a.src.width < width || (a.num_forms && c.head_dim % 32) || (!a.dst.data && !a.num_forms)) return false;
    return (!a.dst.data || (ok_buffer(a.dst) && a.dst.width >= width)) && ok_pieces(a.num_forms, a.forms, width);
}

bool ok_routing(const PcpuRouting *r) {
    return r && r->num_chosen > 0 && r->num_chosen <= r->num_experts && r->experts && r->weights && r->places && r->rows &&
           r->owners && r->starts && r->active && r->num_active;
}

bool ok(const PcpuRoute &r) { return ok_routing(r.routing) && ok_buffer(r.scores) && r.scores.width >= r.routing->num_experts; }

// What an expert's layers have in common with those of all rows; its shape is that of the first expert.
bool ok_expert(const PcpuExperts &m, const PcpuExpert &e, const PcpuExpert &first) {
    if (!ok(e.gated) || !ok_product(e.down.matrix, e.down.x, e.down.src) || e.down.bias || e.down.add || e.down.column) return false;
    const PcpuMatrix &gate = *e.gated.gate, &down = *e.down.matrix;
    if (gate.num_outputs != first.gated.gate->num_outputs || down.num_outputs != first.down.matrix->num_outputs) return false;
    if (!ok_buffer(e.down.dst) || e.down.dst.width != down.num_outputs) return false;
    for (const PcpuActivation *x : {e.gated.gate_x, e.gated.up_x}) {
        if (x && !ok_forms(1, &x, m.src.stride)) return false;
    }
    const bool floats = reads_floats(gate) || reads_floats(*e.gated.up);
    if (floats && !(ok_buffer(m.spread) && m.spread.stride == m.src.stride)) return false;
    return !e.inner || (e.gated.dst.data && ok_forms(1, &e.inner, e.gated.dst.stride));
}

bool ok(const PcpuExperts &m) {
    if (!m.experts || !ok_routing(m.routing) || !ok_buffer(m.src)) return false;
    for (int i = 0; i < m.routing->num_experts; i++) {
        if (!ok_expert(m, m.experts[i], m.experts[0])) return false;
    }
    return true;
}

bool ok(const PcpuCombine &c) {
    if (!ok_routing(c.routing) || !ok_buffer(c.src) || !ok_buffer(c.dst) || c.src.stride != c.dst.stride) return false;
    if (!c.shared.data) return true;
    return ok_buffer(c.shared) && c.shared.stride == c.dst.stride && ok_buffer(c.scores) && c.scores.width > c.routing->num_experts;
}

bool ok_record(const PcpuRecord &r, const PcpuCache &cache) {
    if (!r.op) return false;
    switch (r.kind) {
        case PCPU_EMBED: return ok(*(const PcpuEmbed *)r.op);
        case PCPU_NORM:
        case PCPU_FINAL_NORM: return ok(*(const PcpuNorm *)r.op);
        case PCPU_CONVERT: {
            const auto &c = *(const PcpuConvert *)r.op;
            return ok_buffer(c.src) && ok_forms(c.num_forms, c.forms, c.src.stride);
        }
        case PCPU_ADD: {
            const auto &a = *(const PcpuAdd *)r.op;
            return ok_buffer(a.src) && ok_buffer(a.dst) && a.src.stride == a.dst.stride;
        }
        case PCPU_STORE_KV: return ok(*(const PcpuStoreKV *)r.op, cache);
        case PCPU_SHRINK: return ok(*(const PcpuShrink *)r.op);
        case PCPU_LINEAR: return ok(*(const PcpuLinear *)r.op);
        case PCPU_GATED: return ok(*(const PcpuGated *)r.op);
        case PCPU_ATTEND: return ok(*(const PcpuAttend *)r.op, cache);
        case PCPU_ROUTE: return ok(*(const PcpuRoute *)r.op);
        case PCPU_GROUP:
        case PCPU_SPREAD:
        case PCPU_EXPERT_GATED:
        case PCPU_EXPERT_CONVERT:
        case PCPU_EXPERT_DOWN: return ok(*(const PcpuExperts *)r.op);
        case PCPU_COMBINE: return ok(*(const PcpuCombine *)r.op);
        default: return false;
    }
}

bool is_of_experts(int kind) { return kind >= PCPU_GROUP && kind <= PCPU_EXPERT_DOWN; }

bool ok_pool(const PcpuPool &p, int64_t layer_bytes) {
    return p.num_layers == 0 || (p.num_layers > 0 && p.data && p.num_pages > 0 && p.page_bytes >= layer_bytes * p.num_layers);
}

bool ok_cache(const PcpuCache &c) {
    if (c.num_kv_heads < 1 || c.head_dim < 1 || c.head_dim > kMaxHeadDim) return false;
    if (c.storage < PCPU_KV_BF16 || c.storage > PCPU_KV_INT4 || c.page_len < 1 || c.page_len % 16) return false;
    const int64_t padded = (c.head_dim + 15) / 16 * 16, wide = (c.head_dim + 31) / 32 * 32;
    const int64_t block = c.storage == PCPU_KV_BF16 ? 64 * padded : c.storage == PCPU_KV_INT8 ? 32 * padded + 128 : 18 * wide;
    const int64_t layer_bytes = block * c.num_kv_heads * (c.page_len / 16);
    if (c.pools[0].num_layers + c.pools[1].num_layers < 1) return false;
    return ok_pool(c.pools[0], layer_bytes) && ok_pool(c.pools[1], layer_bytes);
}

bool all_below(const int32_t *values, int count, int bound) {
    bool ok = count == 0 || values;
    for (int i = 0; ok && i < count; i++) ok = values[i] >= 0 && values[i] < bound;
    return ok;
}

bool ok_sequence(const PcpuCache &cache, const PcpuBatch &b, int s, int first_row) {
    const int64_t end = (int64_t)b.past[s] + b.lengths[s], num_pages = (end + cache.page_len - 1) / cache.page_len;
    if (b.starts[s] != first_row || b.lengths[s] < 1 || b.past[s] < 0 || end > INT32_MAX) return false;
    if (b.lengths[s] > b.num_tokens - first_row || num_pages > b.table_width) return false;
    for (int i = 0; i < b.lengths[s]; i++) {
        if (b.owners[first_row + i] != s || b.positions[first_row + i] != b.past[s] + i) return false;
    }
    const int64_t row = (int64_t)s * b.table_width;
    const PcpuPool &full = cache.pools[0], &windowed = cache.pools[1];
    if (full.num_layers && !all_below(b.pages + row, (int)num_pages, full.num_pages)) return false;
    return !windowed.num_layers || all_below(b.windowed_pages + row, (int)num_pages, windowed.num_pages);
}

int rope_len(const PcpuProgram &program) {
    int len = INT32_MAX;
    for (int i = 0; i < program.num_records; i++) {
        if (program.records[i].kind != PCPU_STORE_KV) continue;
        const auto &s = *(const PcpuStoreKV *)program.records[i].op;
        if (s.cos && s.context_len < len) len = s.context_len;
    }
    return len;
}

int vocabulary(const PcpuProgram &program) {
    for (int i = 0; i < program.num_records; i++) {
        if (program.records[i].kind == PCPU_EMBED) return ((const PcpuEmbed *)program.records[i].op)->num_tokens;
    }
    return INT32_MAX;
}

int logits_width(const PcpuProgram &program) {
    for (int i = 0; i < program.num_records; i++) {
        if (program.records[i].kind != PCPU_LINEAR) continue;
        const auto &l = *(const PcpuLinear *)program.records[i].op;
        if (l.logits) return l.parts[0].matrix->num_outputs;
    }
    return 0;
}

int hidden_width(const PcpuProgram &program) {
    for (int i = 0; i < program.num_records; i++) {
        if (program.records[i].kind == PCPU_FINAL_NORM) return ((const PcpuNorm *)program.records[i].op)->src.stride;
    }
    return 0;
}

}  // namespace

PcpuError check_program(const PcpuProgram &program, const PcpuCache &cache) {
    if (!program.records || program.num_records < 0 || !ok_cache(cache)) return PCPU_BAD_RECORD;
    for (int i = 0; i < program.num_records; i++) {
        const PcpuRecord &r = program.records[i];
        // The records of a mixture share one structure, with many experts to look at.
        if (i && r.op == program.records[i - 1].op && is_of_experts(r.kind) && is_of_experts(program.records[i - 1].kind)) continue;
        if (!ok_record(r, cache)) return PCPU_BAD_RECORD;
    }
    return PCPU_OK;
}

PcpuError check_batch(const PcpuProgram &program, const PcpuCache &cache, const PcpuBatch &b) {
    if (b.num_tokens < 0 || b.num_tokens > program.max_tokens || b.num_sequences < 0 || b.table_width < 0) return PCPU_BAD_BATCH;
    if (b.num_logit_rows < 0 || b.num_logit_rows > program.max_logits || b.num_hidden_rows < 0) return PCPU_BAD_BATCH;
    if (!all_below(b.tokens, b.num_tokens, vocabulary(program))) return PCPU_BAD_BATCH;
    if (!all_below(b.logit_rows, b.num_logit_rows, b.num_tokens)) return PCPU_BAD_BATCH;
    if (!all_below(b.hidden_rows, b.num_hidden_rows, b.num_tokens)) return PCPU_BAD_BATCH;
    if (!all_below(b.positions, b.num_tokens, rope_len(program))) return PCPU_BAD_BATCH;
    if (b.num_logit_rows && (!b.logits || b.logits_stride < logits_width(program))) return PCPU_BAD_BATCH;
    if (b.num_hidden_rows && (!b.hidden || b.hidden_stride < hidden_width(program))) return PCPU_BAD_BATCH;
    if (b.num_tokens && !(b.owners && b.starts && b.lengths && b.past && b.pages)) return PCPU_BAD_BATCH;
    if (b.num_tokens && cache.pools[1].num_layers && !b.windowed_pages) return PCPU_BAD_BATCH;
    int row = 0;
    for (int s = 0; s < b.num_sequences; s++) {
        if (!ok_sequence(cache, b, s, row)) return PCPU_BAD_BATCH;
        row += b.lengths[s];
    }
    return row == b.num_tokens ? PCPU_OK : PCPU_BAD_BATCH;
}

}  // namespace pcpu
