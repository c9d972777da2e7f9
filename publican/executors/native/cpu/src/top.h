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

// Keeps the best `count` of what is offered in rising order of index, so that an equal number never displaces one that is kept.
struct Kept {
    Best heap[kMaxTop];
    int size = 0, count;

    explicit Kept(int most) : count(most) {}
    bool full() const { return size == count; }
    INLINE void offer(float value, int32_t index) {
        if (!full()) {
            heap[size++] = {value, index};
            for (int at = size / 2 - 1; full() && at >= 0; at--) sift_down(heap, size, at);
        } else if (value > heap[0].value) {
            heap[0] = {value, index};
            sift_down(heap, size, 0);
        }
    }
};

constexpr int kTopBlock = 256, kMostTopBlocks = 4096;

// The highest number of each full block; what is no number may be passed over, or make a block's highest one too.
inline void highest_of_blocks(const float *values, int64_t num_blocks, float *peaks) {
    for (int64_t b = 0; b < num_blocks; b++) {
        Vf peak = splat(-__builtin_inff());
        for (int i = 0; i < kTopBlock; i += 16) peak = max(load(values + b * kTopBlock + i), peak);
        peaks[b] = highest(peak);
    }
}

// A number that the highest ones of `count` blocks reach, so that as many numbers do; -inf where there are too few blocks.
inline float floor_of_blocks(const float *peaks, int64_t num_blocks, int count) {
    if (num_blocks < 2 * count) return -__builtin_inff();
    Kept best(count);
    for (int64_t b = 0; b < num_blocks; b++) best.offer(peaks[b] == peaks[b] ? peaks[b] : -__builtin_inff(), (int32_t)b);
    return best.heap[0].value;
}

// `best` and `indices` have room for `count`; returns how many there are. Blocks that cannot matter are looked at once.
inline int top(const float *values, int64_t size, int count, int32_t *indices, float *best) {
    float peaks[kMostTopBlocks];
    const int64_t full_blocks = size / kTopBlock;
    const int64_t num_blocks = full_blocks <= kMostTopBlocks && full_blocks >= 2 * count ? full_blocks : 0;
    highest_of_blocks(values, num_blocks, peaks);
    const float floor = floor_of_blocks(peaks, num_blocks, count);
    const bool has_floor = floor > -__builtin_inff();
    Kept kept(count);
    Vf bound = splat(__builtin_nextafterf(floor, -__builtin_inff()));
    for (int64_t begin = 0; begin < size; begin += kTopBlock) {
        if (has_floor && begin / kTopBlock < num_blocks && peaks[begin / kTopBlock] < floor) continue;
        const int64_t end = size - begin < kTopBlock ? size : begin + kTopBlock;
        for (int64_t i = begin; i < end; i += 16) {
            const int here = end - i < 16 ? (int)(end - i) : 16;
            const Vf x = here == 16 ? load(values + i) : keep_lanes(load_first(values + i, here), 0, here, -__builtin_inff());
            unsigned lanes = has_floor || kept.full() ? lanes_above(x, bound) : (1u << here) - 1;
            if (!lanes) continue;
            for (; lanes; lanes &= lanes - 1) {
                const int lane = __builtin_ctz(lanes);
                const float value = values[i + lane];
                if (value == value) kept.offer(value, (int32_t)(i + lane));
            }
            if (kept.full()) bound = splat(kept.heap[0].value);
        }
    }
    // Fewer than `count` numbers were there, perhaps: order what was kept, then take the worst away until none is left.
    for (int at = kept.size / 2 - 1; at >= 0; at--) sift_down(kept.heap, kept.size, at);
    for (int left = kept.size; left > 0; left--) {
        indices[left - 1] = kept.heap[0].index;
        best[left - 1] = kept.heap[0].value;
        kept.heap[0] = kept.heap[left - 1];
        sift_down(kept.heap, left - 1, 0);
    }
    return kept.size;
}
