#include "plan.h"

#include <algorithm>
#include <numeric>

namespace pcpu {
namespace {

// Partials of more than this are not worth their memory; one worker then goes through a whole context.
constexpr int64_t kMaxPartialBytes = 64 << 20;
constexpr int kRowsAtOnce = 4;  // what the kernels compute together at best

// The most tokens whose rows fit in a tile, fewer if that fills the kernels' groups of rows.
int tile_len_for(int heads) {
    const int most = kMaxTileRows / heads;
    for (int len = most; len > 1; len--) {
        if (len * heads % kRowsAtOnce == 0) return len;
    }
    return most;
}

}  // namespace

// The longest contexts first: what is begun last should be short.
void AttentionPlanner::cut_tiles(const PcpuBatch &batch, int tile_len) {
    order_.resize(batch.num_sequences);
    std::iota(order_.begin(), order_.end(), 0);
    const auto context = [&](int s) { return batch.past[s] + batch.lengths[s]; };
    std::sort(order_.begin(), order_.end(), [&](int a, int b) { return context(a) > context(b); });
    sequences_.clear();
    offsets_.clear();
    for (const int s : order_) {
        for (int last = (batch.lengths[s] - 1) / tile_len * tile_len; last >= 0; last -= tile_len) {
            sequences_.push_back(s);
            offsets_.push_back(last);
        }
    }
}

AttentionPlan AttentionPlanner::plan(const PcpuBatch &batch, const PcpuCache &cache, int num_heads, int num_workers) {
    AttentionPlan p = {};
    const int queries = num_heads / cache.num_kv_heads;
    const int groups = (queries + kMaxTileRows - 1) / kMaxTileRows;
    p.heads_per_tile = (queries + groups - 1) / groups;
    p.num_head_tiles = groups * cache.num_kv_heads;
    p.tile_len = tile_len_for(p.heads_per_tile);
    cut_tiles(batch, p.tile_len);
    p.num_tiles = (int)sequences_.size();
    p.tile_sequences = sequences_.data();
    p.tile_offsets = offsets_.data();
    p.partial_floats = (int64_t)kMaxTileRows * ((cache.head_dim + 31) / 32 * 32 + 2);
    const int longest = batch.past[order_[0]] + batch.lengths[order_[0]];
    const int64_t num_items = (int64_t)p.num_tiles * p.num_head_tiles, chunks = (longest + kChunkLen - 1) / kChunkLen;
    const int64_t floats = num_items * chunks * p.partial_floats;
    // Only where to compute changes here, never what: partials are made and merged alike either way.
    const bool split = num_workers > 1 && chunks > 1 && num_items < 4 * num_workers && floats * 4 <= kMaxPartialBytes;
    p.max_chunks = split ? (int)chunks : 1;
    if (split) {
        if ((int64_t)partials_.size() < floats) partials_.resize(floats);
        num_done_.assign(num_items, 0);
    }
    p.partials = partials_.data();
    p.num_done = num_done_.data();
    return p;
}

}  // namespace pcpu
