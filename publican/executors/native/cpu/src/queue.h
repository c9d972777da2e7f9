// How the workers of a phase share its items.
//
// Each worker begins with its own contiguous range, so that it streams through its own stretch of the weights; once that is
// empty it takes from the others', so that a worker whose core is taken away for a moment does not hold up the rest.
#pragma once

// Items [first, end) in `span`; false when none are left anywhere.
struct Span { int64_t first, end; };

INLINE bool take_from(Share &share, int set, int64_t begin, int64_t end, int64_t count, Span &span) {
    if (begin + __atomic_load_n(&share.taken[set], __ATOMIC_RELAXED) >= end) return false;
    const int64_t first = begin + __atomic_fetch_add(&share.taken[set], count, __ATOMIC_RELAXED);
    if (first >= end) return false;
    span = {first, first + count < end ? first + count : end};
    return true;
}

INLINE bool take(Worker &worker, int64_t num_items, int64_t count, Span &span) {
    const int set = worker.phase & 1;
    for (int i = 0; i < worker.count; i++) {
        const int owner = worker.index + i < worker.count ? worker.index + i : worker.index + i - worker.count;
        const int64_t begin = num_items * owner / worker.count, end = num_items * (owner + 1) / worker.count;
        if (take_from(worker.shares[owner], set, begin, end, count, span)) return true;
    }
    return false;
}

// The rows that belong to this worker in every phase that goes row by row.
INLINE Span own_rows(const Worker &worker, int64_t num_rows) {
    return {num_rows * worker.index / worker.count, num_rows * (worker.index + 1) / worker.count};
}
