// Teams that come, work and go, thousands of them: every item is computed once, and no team is waited for for ever.
// Called with the number of rounds and of workers; ends with 1 where an item was left out or computed twice.
#include "team.h"

#include <cstdlib>
#include <vector>

using namespace pcpu;

struct Job {
    std::vector<Phase> phases;
    std::vector<std::vector<char>> times;  // [phase][item]
};

static Job job_of_round(int round) {
    Job job;
    for (int p = 0; p < round % 4; p++) {
        job.phases.push_back({(round + 7 * p) % 11, 1 + p});
        job.times.emplace_back(job.phases.back().num_items, 0);
    }
    return job;
}

static bool is_right(Team &team, int round) {
    Job job = job_of_round(round);
    team.run({&job, (int)job.phases.size(), [](void *argument, int phase) { return ((Job *)argument)->phases[phase]; },
              [](void *argument, int phase, int64_t first, int64_t end) {
                  for (; first < end; first++) ((Job *)argument)->times[phase][first]++;
              }});
    for (const auto &phase : job.times) {
        for (const char times : phase) {
            if (times != 1) return false;
        }
    }
    return true;
}

int main(int, char **argv) {
    const int num_rounds = atoi(argv[1]), num_workers = atoi(argv[2]);
    for (int round = 0; round < num_rounds; round++) {
        Team team(num_workers);  // closed at once: some of its threads are only now looking for work
        if (!is_right(team, round) || (round % 8 == 0 && !is_right(team, round / 8))) return 1;
    }
}
