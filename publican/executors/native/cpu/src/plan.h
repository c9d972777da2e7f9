// How a step's attention is cut into tiles, decided once per step.
#pragma once

#include <vector>

#include "kernels.h"

namespace pcpu {

// Owns what an AttentionPlan points to; kept from step to step so that memory is reused.
class AttentionPlanner {
  public:
    // Throws std::bad_alloc.
    AttentionPlan plan(const PcpuBatch &batch, const PcpuCache &cache, int num_heads, int num_workers);

  private:
    void cut_tiles(const PcpuBatch &batch, int tile_len);

    std::vector<int> order_, sequences_, offsets_, num_done_;
    std::vector<float> partials_;
};

}  // namespace pcpu
