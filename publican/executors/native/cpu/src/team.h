// A persistent team of threads with its own barrier, and the queue from which a phase's items are taken.
//
// The caller of `run` is worker 0; the others wait spinning for a short while (the next step is near), then yielding, then
// asleep. Waits inside a step spin for a bounded time and then yield, so that a neighbour on the same core gets its turn
// and the team goes on as soon as it has had it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace pcpu {

// One worker's own range of a phase's items; others may take from it once theirs is empty. Two, used in turn.
struct alignas(64) Share {
    int64_t taken[2] = {0, 0};
};

class Team {
  public:
    explicit Team(int num_workers);
    ~Team();
    Team(const Team &) = delete;
    Team &operator=(const Team &) = delete;

    using Body = void (*)(void *argument, int worker);

    // Runs body(argument, w) for each worker w; returns when all have.
    void run(Body body, void *argument);

    // All workers wait here for each other. Called by each worker of a running body.
    void barrier(int worker);

    int size() const { return num_workers_; }
    Share *shares() { return shares_.data(); }

  private:
    // Workers arrive at their group's counter, the last of a group at the root: sixteen cache lines instead of sixty-four
    // contend at 64 threads.
    static constexpr int kGroup = 8;
    struct alignas(64) Counter {
        std::atomic<int> arrived{0};
    };
    void work(int worker);
    void stop();
    bool wait_for_job(unsigned seen);

    const int num_workers_;
    const int num_groups_;
    std::vector<Share> shares_;
    std::vector<Counter> groups_;
    Counter root_;
    alignas(64) std::atomic<unsigned> phase_{0};
    alignas(64) std::atomic<unsigned> job_{0};
    std::atomic<int> num_asleep_{0};
    std::atomic<bool> closing_{false};
    Body body_ = nullptr;
    void *argument_ = nullptr;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<std::thread> threads_;
};

}  // namespace pcpu
