// The C functions of the library. None throws, none keeps a pointer after it returns, and all but the enquiries want an
// engine, which one thread at a time may use.
#include <atomic>
#include <new>
#include <string.h>

#include "check.h"
#include "features.h"
#include "pack.h"
#include "plan.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

using namespace pcpu;

struct PcpuEngine {
    PcpuEngine(const Kernels *kernels, int num_threads) : kernels(kernels), team(num_threads) {}
    const Kernels *kernels;
    Team team;
    AttentionPlanner planner;
    std::atomic<bool> busy{false};
};

namespace {

// Holds an engine for one call.
class Turn {
  public:
    explicit Turn(PcpuEngine &engine) : engine_(engine), mine_(!engine.busy.exchange(true)) {}
    ~Turn() {
        if (mine_) engine_.busy.store(false);
    }
    bool mine() const { return mine_; }

  private:
    PcpuEngine &engine_;
    bool mine_;
};

bool is_rowwise(int kind) {
    return kind == PCPU_EMBED || kind == PCPU_NORM || kind == PCPU_CONVERT || kind == PCPU_ADD || kind == PCPU_STORE_KV;
}

struct Run {
    PcpuEngine *engine;
    const PcpuProgram *program;
    Step step;
};

// One worker's way through all records. A barrier stands between two records unless both go row by row: then each worker
// only reads what it wrote itself.
void run_worker(void *argument, int index) {
    const Run &run = *(const Run *)argument;
    Team &team = run.engine->team;
    Worker worker = {index, team.size(), 0, team.shares()};
    for (int i = 0; i < run.program->num_records; i++) {
        const int kind = run.program->records[i].kind;
        if (i && !(is_rowwise(kind) && is_rowwise(run.program->records[i - 1].kind))) {
            team.barrier(index);
            worker.phase++;
            // The other set may still be in use; this one's last users are all past the barrier.
            worker.shares[index].taken[(worker.phase + 1) & 1] = 0;
        }
        run.engine->kernels->operations[kind](run.program->records[i].op, run.step, worker);
    }
}

const PcpuAttend *first_attend(const PcpuProgram &program) {
    for (int i = 0; i < program.num_records; i++) {
        if (program.records[i].kind == PCPU_ATTEND) return (const PcpuAttend *)program.records[i].op;
    }
    return nullptr;
}

// fn(begin, end) over 0 … count - 1 by all workers.
template <class Fn>
void for_ranges(Team &team, int64_t count, const Fn &fn) {
    struct Job {
        const Fn &fn;
        int64_t count;
        int workers;
    } job = {fn, count, team.size()};
    team.run(
        [](void *argument, int worker) {
            const Job &j = *(const Job *)argument;
            j.fn(j.count * worker / j.workers, j.count * (worker + 1) / j.workers);
        },
        &job);
}

// Whether `segment` is cut so that all of `source` has a place in it.
bool fits(const PcpuSource &source, const PcpuSegment &s) {
    if (source.num_outputs < 1 || source.num_inputs < 1 || source.row_stride < source.num_inputs) return false;
    if (s.block_len < 1 || s.block_len > 32 || s.num_blocks < 1 || s.panel_bytes != panel_bytes(s)) return false;
    if (s.storage != PCPU_CODES4 && s.storage != PCPU_CODES8) return (int64_t)s.num_blocks * s.block_len >= source.num_inputs;
    if (!source.scales || !source.offsets || source.group_len < 1 || s.blocks_per_group < 1) return false;
    const int64_t num_groups = (source.num_inputs + (int64_t)source.group_len - 1) / source.group_len;
    const int64_t last_len = source.num_inputs - (num_groups - 1) * source.group_len;
    const int64_t num_blocks = (num_groups - 1) * s.blocks_per_group + (last_len + s.block_len - 1) / s.block_len;
    const bool group_fits = num_groups == 1 || (int64_t)s.blocks_per_group * s.block_len >= source.group_len;
    return group_fits && s.num_blocks == num_blocks && source.scale_stride >= num_groups &&
           (num_blocks + s.blocks_per_group - 1) / s.blocks_per_group == num_groups;
}

}  // namespace

EXPORT int pcpu_abi() { return PCPU_ABI; }

// Of the sources that the library was made from (compile.py).
EXPORT const char *pcpu_source_hash() { return PCPU_SOURCE_HASH; }

EXPORT const char *pcpu_error_text(int error) {
    switch (error) {
        case PCPU_OK: return "no error";
        case PCPU_BAD_RECORD: return "a record of the program is not sound";
        case PCPU_BAD_BATCH: return "the batch is not sound";
        case PCPU_BAD_MATRIX: return "the matrix cannot be packed";
        case PCPU_NO_VARIANT: return "this CPU cannot run that variant, or it was not compiled";
        case PCPU_NO_MEMORY: return "out of memory";
        case PCPU_NO_THREADS: return "the threads could not be started";
        case PCPU_BUSY: return "the engine is in use by another thread";
        default: return "unknown error";
    }
}

EXPORT int pcpu_num_variants() { return kNumVariants; }
EXPORT const char *pcpu_variant_name(int i) { return i >= 0 && i < kNumVariants ? kVariants[i].name : nullptr; }
EXPORT int pcpu_variant_supported(int i) { return i >= 0 && i < kNumVariants && kVariants[i].supported(); }

// An engine with a team of `num_threads`, the caller being one; `variant` null takes the best one.
EXPORT int pcpu_open(int num_threads, const char *variant, PcpuEngine **out) {
    *out = nullptr;
    if (num_threads < 1 || num_threads > 1024) return PCPU_NO_THREADS;
    for (int i = 0; i < kNumVariants; i++) {
        if (!kVariants[i].supported() || (variant && strcmp(variant, kVariants[i].name))) continue;
        try {
            *out = new PcpuEngine(kVariants[i].kernels(), num_threads);
            return PCPU_OK;
        } catch (const std::bad_alloc &) {
            return PCPU_NO_MEMORY;
        } catch (...) {
            return PCPU_NO_THREADS;
        }
    }
    return PCPU_NO_VARIANT;
}

EXPORT void pcpu_close(PcpuEngine *engine) { delete engine; }

EXPORT const char *pcpu_engine_variant(const PcpuEngine *engine) { return engine->kernels->name; }

// All records for one batch, in one parallel region. A batch of no tokens does nothing.
EXPORT int pcpu_run(PcpuEngine *engine, const PcpuProgram *program, const PcpuCache *cache, const PcpuBatch *batch) {
    if (!engine || !program || !cache || !batch) return PCPU_BAD_RECORD;
    const Turn turn(*engine);
    if (!turn.mine()) return PCPU_BUSY;
    PcpuError error = check_program(*program, *cache);
    if (error == PCPU_OK) error = check_batch(*program, *cache, *batch);
    if (error != PCPU_OK || batch->num_tokens == 0) return error;
    try {
        Run run = {engine, program, {batch, cache, {}}};
        if (const PcpuAttend *a = first_attend(*program)) {
            run.step.attention = engine->planner.plan(*batch, *cache, a->num_heads, engine->team.size());
        }
        engine->team.run(run_worker, &run);
    } catch (const std::bad_alloc &) {
        return PCPU_NO_MEMORY;
    }
    return PCPU_OK;
}

// Fills segment->data, which has room for ceil(outputs / 16) panels; the other fields of `segment` say how.
EXPORT int pcpu_pack(PcpuEngine *engine, const PcpuSource *source, const PcpuSegment *segment) {
    if (!engine || !source || !segment || !source->values || !segment->data) return PCPU_BAD_MATRIX;
    if (!fits(*source, *segment)) return PCPU_BAD_MATRIX;
    const Turn turn(*engine);
    if (!turn.mine()) return PCPU_BUSY;
    for_ranges(engine->team, (source->num_outputs + 15) / 16,
               [&](int64_t first, int64_t end) { pack_panels(*source, *segment, first, end); });
    return PCPU_OK;
}

EXPORT int64_t pcpu_panel_bytes(const PcpuSegment *segment) { return panel_bytes(*segment); }

// 1 where all numbers may be kept as float16 (pack.h).
EXPORT int pcpu_fit_half(PcpuEngine *engine, const float *values, int64_t count, int exact) {
    const Turn turn(*engine);
    if (!turn.mine()) return 0;
    std::atomic<bool> fit{true};
    for_ranges(engine->team, count, [&](int64_t first, int64_t end) {
        if (!fit_half(values + first, end - first, exact)) fit.store(false);
    });
    return fit.load();
}

// The `count` best of each row, best first, the lower index first among equals; NaN never. `found` says how many there were.
EXPORT int pcpu_top(PcpuEngine *engine, const float *values, int64_t num_rows, int64_t stride, int64_t size, int count,
                    int32_t *indices, float *best, int32_t *found) {
    if (!engine || num_rows < 0 || size < 0 || size > INT32_MAX || stride < size || count < 1 || count > kMaxTop) return PCPU_BAD_BATCH;
    if (num_rows && (!values || !indices || !best || !found)) return PCPU_BAD_BATCH;
    const Turn turn(*engine);
    if (!turn.mine()) return PCPU_BUSY;
    for_ranges(engine->team, num_rows, [&](int64_t first, int64_t end) {
        for (int64_t r = first; r < end; r++) {
            found[r] = engine->kernels->top(values + r * stride, size, count, indices + r * count, best + r * count);
        }
    });
    return PCPU_OK;
}

// The size of a structure, for records.py to compare with its own.
EXPORT int64_t pcpu_sizeof(const char *name) {
#define SIZE(T) if (!strcmp(name, #T)) return sizeof(T);
    SIZE(PcpuSegment) SIZE(PcpuMatrix) SIZE(PcpuBuffer) SIZE(PcpuActivation) SIZE(PcpuEmbed) SIZE(PcpuNorm) SIZE(PcpuConvert)
    SIZE(PcpuAdd) SIZE(PcpuPart) SIZE(PcpuLinear) SIZE(PcpuGated) SIZE(PcpuStoreKV) SIZE(PcpuAttend) SIZE(PcpuRecord)
    SIZE(PcpuProgram) SIZE(PcpuCache) SIZE(PcpuBatch) SIZE(PcpuSource)
#undef SIZE
    return -1;
}
