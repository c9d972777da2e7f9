#include "team.h"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pcpu {
namespace {

constexpr int kItemBits = 24;
constexpr uint64_t kItemMask = (1u << kItemBits) - 1;

// About 20 to 60 µs of pauses, by CPU: longer than a phase of decoding, shorter than a scheduler's tick.
constexpr int kSpins = 1500;
// Between steps the host samples and schedules for some hundreds of µs; sleeping would cost 50 µs to wake up.
constexpr auto kYieldFor = std::chrono::microseconds(400);

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Spins for a bounded time, then gives the core to whoever wants it between looks.
template <class Condition>
void wait_until(const Condition &holds) {
    for (int spins = 0; !holds(); spins++) {
        if (spins < kSpins) {
            pause();
        } else {
            std::this_thread::yield();
        }
    }
}

}  // namespace

Team::Team(int num_workers) : num_workers_(num_workers), shares_(num_workers) {
    try {
        for (int worker = 1; worker < num_workers; worker++) threads_.emplace_back(&Team::work, this, worker);
    } catch (...) {
        stop();
        throw;
    }
}

Team::~Team() { stop(); }

void Team::stop() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        closing_.store(true);
        job_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto &thread : threads_) thread.join();
    threads_.clear();
}

void Team::run(const Work &work) {
    // Nobody is inside: the last run waited for that.
    work_ = work;
    first_ = current_.load();
    end_ = first_ + (uint64_t)work.num_phases;
    current_.store(next_with_items(first_));
    open_.store(true);
    job_.fetch_add(1);
    if (num_asleep_.load() > 0) {
        std::lock_guard<std::mutex> lock(mutex_);
        wake_.notify_all();
    }
    participate(0);
    open_.store(false);
    wait_until([&] { return num_inside_.load() == 0; });
}

uint64_t Team::next_with_items(uint64_t phase) const {
    while (phase < end_ && work_.phase(work_.argument, (int)(phase - first_)).num_items == 0) phase++;
    return phase;
}

void Team::participate(int worker) {
    for (uint64_t phase = current_.load(std::memory_order_acquire); phase < end_;) {
        const int index = (int)(phase - first_);
        const Phase shape = work_.phase(work_.argument, index);
        int64_t mine = 0;
        for (Span span; take(phase, worker, shape, span); mine += span.end - span.first) {
            work_.compute(work_.argument, index, span.first, span.end);
        }
        // One addition per worker and phase. Who has taken items is waited for, so this is still the current phase.
        if (mine && num_done_.fetch_add(mine, std::memory_order_acq_rel) + mine == shape.num_items) {
            num_done_.store(0, std::memory_order_relaxed);
            phase = next_with_items(phase + 1);
            current_.store(phase, std::memory_order_release);
        } else {
            phase = wait_for_end_of(phase);
        }
    }
}

// Its own range first, so that each worker streams through its own stretch of the weights; then from the others'.
bool Team::take(uint64_t phase, int worker, const Phase &shape, Span &span) {
    for (int i = 0; i < num_workers_; i++) {
        const int owner = worker + i < num_workers_ ? worker + i : worker + i - num_workers_;
        const int64_t begin = shape.num_items * owner / num_workers_, end = shape.num_items * (owner + 1) / num_workers_;
        if (take_from(shares_[owner], phase, end - begin, shape.items_per_take, span)) {
            span.first += begin;
            span.end += begin;
            return true;
        }
    }
    return false;
}

bool Team::take_from(Share &share, uint64_t phase, int64_t length, int64_t count, Span &span) {
    uint64_t seen = share.taken.load(std::memory_order_relaxed);
    for (;;) {
        if (seen >> kItemBits > phase) return false;  // this worker is late; the phase is over
        const int64_t taken = seen >> kItemBits == phase ? (int64_t)(seen & kItemMask) : 0;
        if (taken >= length) return false;
        const int64_t end = taken + count < length ? taken + count : length;
        if (share.taken.compare_exchange_weak(seen, phase << kItemBits | (uint64_t)end, std::memory_order_relaxed)) {
            span = {taken, end};
            return true;
        }
    }
}

uint64_t Team::wait_for_end_of(uint64_t phase) const {
    uint64_t now = phase;
    wait_until([&] { return (now = current_.load(std::memory_order_acquire)) != phase; });
    return now;
}

// Waits until job_ is not `seen`, and notes the job that it saw: one that comes between looking and noting is not lost.
// False when the team is closing.
bool Team::wait_for_job(unsigned &seen) {
    const auto is_new = [&] {
        const unsigned job = job_.load();
        const bool differs = job != seen;
        seen = job;
        return differs;
    };
    for (int spins = 0; spins < kSpins; spins++) {
        if (is_new()) return !closing_.load();
        pause();
    }
    const auto end = std::chrono::steady_clock::now() + kYieldFor;
    while (std::chrono::steady_clock::now() < end) {
        if (is_new()) return !closing_.load();
        std::this_thread::yield();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    // Sequentially consistent on both sides: either `run` sees this thread asleep, or this thread sees the new job.
    num_asleep_.fetch_add(1);
    wake_.wait(lock, is_new);
    num_asleep_.fetch_sub(1);
    return !closing_.load();
}

void Team::work(int worker) {
    unsigned seen = 0;
    while (wait_for_job(seen)) {
        // First inside, then look: a run that is closed is left alone, and one that is open waits for who is inside.
        num_inside_.fetch_add(1);
        if (open_.load()) participate(worker);
        num_inside_.fetch_sub(1);
    }
}

}  // namespace pcpu
