// A persistent team of threads, and how they share work without waiting for one another more than they must.
//
// Work is a row of phases, each a number of items. A phase is over when its *items* are done, not when all threads have
// come by: a thread whose core was taken away holds up only the items that it has begun, and finds itself in a later phase
// when it comes back. On cores of its own a team is as fast as one with barriers; beside a busy neighbour it is slowed by
// what the neighbour takes, where barriers would make every thread wait for every absence of any other.
//
// The caller of `run` is worker 0. Between runs the others wait spinning for a short while (the next step is near), then
// yielding, then asleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdint.h>
#include <thread>
#include <vector>

namespace pcpu {

struct Phase {
    int64_t num_items;      // below 2^24
    int64_t items_per_take;
};

// Functions rather than closures: kernels of other instruction sets are called through them.
struct Work {
    void *argument;
    int num_phases;
    Phase (*phase)(void *argument, int index);
    void (*compute)(void *argument, int phase, int64_t first, int64_t end);
};

class Team {
  public:
    // Throws std::system_error where threads cannot be had.
    explicit Team(int num_workers);
    ~Team();
    Team(const Team &) = delete;
    Team &operator=(const Team &) = delete;

    // Returns when all phases are over.
    void run(const Work &work);

    int size() const { return num_workers_; }

  private:
    // What was taken of one worker's own range: the phase in the upper 40 bits, the number of items in the lower 24. What
    // is tagged with an earlier phase counts as nothing taken, so that nothing has to be reset.
    struct alignas(64) Share {
        std::atomic<uint64_t> taken{0};
    };

    struct Span {
        int64_t first, end;
    };

    void work(int worker);
    void participate(int worker);
    bool take(uint64_t phase, int worker, const Phase &shape, Span &span);
    bool take_from(Share &share, uint64_t phase, int64_t length, int64_t count, Span &span);
    uint64_t next_with_items(uint64_t phase) const;
    uint64_t wait_for_end_of(uint64_t phase) const;
    bool wait_for_job(unsigned &seen);
    void stop();

    const int num_workers_;
    std::vector<Share> shares_;
    alignas(64) std::atomic<uint64_t> current_{1};  // the phase at work, counted over all runs
    alignas(64) std::atomic<int64_t> num_done_{0};  // items of the current phase
    alignas(64) std::atomic<unsigned> job_{0};
    std::atomic<bool> open_{false};                 // whether a run may be joined
    std::atomic<int> num_inside_{0};                // workers that may be reading what belongs to a run
    std::atomic<int> num_asleep_{0};
    std::atomic<bool> closing_{false};
    Work work_ = {};
    uint64_t first_ = 1, end_ = 1;                  // phases of the run
    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<std::thread> threads_;
};

}  // namespace pcpu
