#include "team.h"

#include <chrono>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace pcpu {
namespace {

// About 20 to 60 µs of pauses, by CPU: longer than a phase of decoding, shorter than a scheduler's tick.
constexpr int kSpins = 1500;
// Between steps the host samples and schedules for some hundreds of µs; sleeping would cost 50 µs to wake up.
constexpr auto kYieldFor = std::chrono::microseconds(400);

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

Team::Team(int num_workers)
    : num_workers_(num_workers),
      num_groups_((num_workers + kGroup - 1) / kGroup),
      shares_(num_workers),
      groups_(num_groups_) {
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

void Team::run(Body body, void *argument) {
    body_ = body;
    argument_ = argument;
    // The queue's two counters are reset in turn by the phases themselves; the first phase finds both at zero.
    for (auto &share : shares_) share.taken[0] = share.taken[1] = 0;
    job_.fetch_add(1);
    if (num_asleep_.load() > 0) {
        std::lock_guard<std::mutex> lock(mutex_);
        wake_.notify_all();
    }
    body(argument, 0);
    barrier(0);
}

void Team::barrier(int worker) {
    if (num_workers_ == 1) return;
    const unsigned phase = phase_.load(std::memory_order_relaxed);
    const int group = worker / kGroup;
    const int members = group + 1 < num_groups_ ? kGroup : num_workers_ - group * kGroup;
    if (groups_[group].arrived.fetch_add(1, std::memory_order_acq_rel) == members - 1) {
        groups_[group].arrived.store(0, std::memory_order_relaxed);
        if (root_.arrived.fetch_add(1, std::memory_order_acq_rel) == num_groups_ - 1) {
            root_.arrived.store(0, std::memory_order_relaxed);
            phase_.store(phase + 1, std::memory_order_release);
            return;
        }
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; spins++) {
        if (spins < kSpins) {
            pause();
        } else {
            std::this_thread::yield();
        }
    }
}

// Waits until job_ is not `seen`. False when the team is closing.
bool Team::wait_for_job(unsigned seen) {
    for (int spins = 0; spins < kSpins; spins++) {
        if (job_.load(std::memory_order_acquire) != seen) return !closing_.load();
        pause();
    }
    const auto end = std::chrono::steady_clock::now() + kYieldFor;
    while (std::chrono::steady_clock::now() < end) {
        if (job_.load(std::memory_order_acquire) != seen) return !closing_.load();
        std::this_thread::yield();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    // Sequentially consistent on both sides: either `run` sees this thread asleep, or this thread sees the new job.
    num_asleep_.fetch_add(1);
    wake_.wait(lock, [&] { return job_.load() != seen; });
    num_asleep_.fetch_sub(1);
    return !closing_.load();
}

void Team::work(int worker) {
    for (unsigned seen = 0; wait_for_job(seen);) {
        seen++;
        body_(argument_, worker);
        barrier(worker);
    }
}

}  // namespace pcpu
