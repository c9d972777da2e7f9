// The best few of many numbers: what a sampler needs of a row of logits.
#pragma once

struct Best {
    float value;
    int32_t index;
};

// Higher values first, lower indices first among equals.
INLINE bool better(const Best &a, const Best &b) { return a.value > b.value || (a.value == b.value && a.index < b.index); }

// heap[0] is the worst of those kept.
INLINE void sift_down(Best *heap, int size, int at) {
    for (;;) {
        int worst = at;
        for (int child = 2 * at + 1; child <= 2 * at + 2 && child < size; child++) {
            if (better(heap[worst], heap[child])) worst = child;
        }
        if (worst == at) return;
        const Best moved = heap[at];
        heap[at] = heap[worst];
        heap[worst] = moved;
        at = worst;
    }
}

// `best` and `indices` have room for `count`; returns how many there are. Indices come in rising order, so an equal
// number never displaces one that is kept.
inline int top(const float *values, int64_t size, int count, int32_t *indices, float *best) {
    Best heap[kMaxTop];
    int kept = 0;
    Vf bound = splat(-__builtin_inff());
    for (int64_t i = 0; i < size; i += 16) {
        const int here = size - i < 16 ? (int)(size - i) : 16;
        const Vf x = here == 16 ? load(values + i) : keep_lanes(load_first(values + i, here), 0, here, -__builtin_inff());
        if (kept == count && !lanes_above(x, bound)) continue;
        for (int lane = 0; lane < here; lane++) {
            const float value = values[i + lane];
            if (value != value) continue;
            if (kept < count) {
                heap[kept++] = {value, (int32_t)(i + lane)};
                for (int at = kept / 2 - 1; kept == count && at >= 0; at--) sift_down(heap, kept, at);
            } else if (value > heap[0].value) {
                heap[0] = {value, (int32_t)(i + lane)};
                sift_down(heap, kept, 0);
            }
        }
        if (kept == count) bound = splat(heap[0].value);
    }
    // Fewer than `count` numbers were there, perhaps: order what was kept, then take the worst away until none is left.
    for (int at = kept / 2 - 1; at >= 0; at--) sift_down(heap, kept, at);
    for (int left = kept; left > 0; left--) {
        indices[left - 1] = heap[0].index;
        best[left - 1] = heap[0].value;
        heap[0] = heap[left - 1];
        sift_down(heap, left - 1, 0);
    }
    return kept;
}
