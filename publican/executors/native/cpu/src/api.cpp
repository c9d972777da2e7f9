// The C functions of the library. None throws, none keeps a pointer after it returns, and all but the enquiries want an
// engine, which one thread at a time may use.
#include <atomic>
#include <new>
#include <string.h>
#include <thread>
#include <vector>

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
    return kind == PCPU_EMBED || kind == PCPU_NORM || kind == PCPU_CONVERT || kind == PCPU_ADD || kind == PCPU_STORE_KV ||
           kind == PCPU_ROUTE || kind == PCPU_COMBINE;
}

// Records that run as one phase: one, or several that go row by row, each item through all of them.
struct Group {
    int first, end;
};

struct Run {
    PcpuEngine *engine;
    const PcpuProgram *program;
    std::vector<Group> groups;
    Step step;

    const Operation &operation(int record) const { return engine->kernels->operations[program->records[record].kind]; }
};

std::vector<Group> group_records(const PcpuProgram &program) {
    std::vector<Group> groups;
    for (int i = 0; i < program.num_records; i++) {
        if (i && is_rowwise(program.records[i].kind) && is_rowwise(program.records[i - 1].kind)) {
            groups.back().end = i + 1;
        } else {
            groups.push_back({i, i + 1});
        }
    }
    return groups;
}

Phase phase_of_run(void *argument, int index) {
    const Run &run = *(const Run *)argument;
    const int record = run.groups[index].first;
    return run.operation(record).phase(run.program->records[record].op, run.step, run.engine->team.size());
}

void compute_in_run(void *argument, int index, int64_t first, int64_t end) {
    const Run &run = *(const Run *)argument;
    for (int i = run.groups[index].first; i < run.groups[index].end; i++) {
        run.operation(i).compute(run.program->records[i].op, run.step, first, end);
    }
}

const PcpuAttend *first_attend(const PcpuProgram &program) {
    for (int i = 0; i < program.num_records; i++) {
        if (program.records[i].kind == PCPU_ATTEND) return (const PcpuAttend *)program.records[i].op;
    }
    return nullptr;
}

// So many numbers the caller looks through alone.
constexpr int64_t kTopAlone = 1 << 21;

// fn(begin, end) over 0 … count - 1 by all workers.
template <class Fn>
void for_ranges(Team &team, int64_t count, const Fn &fn) {
    struct Job {
        const Fn &fn;
        int64_t count, step;
    } job = {fn, count, count / (team.size() * 4) + 1};
    const Work work = {
        &job, 1,
        [](void *argument, int) {
            const Job &j = *(const Job *)argument;
            return Phase{(j.count + j.step - 1) / j.step, 1};
        },
        [](void *argument, int, int64_t first, int64_t end) {
            const Job &j = *(const Job *)argument;
            j.fn(first * j.step, end * j.step < j.count ? end * j.step : j.count);
        },
    };
    team.run(work);
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

// A call under way is waited for: at the end of a process, engines are closed that a thread still computes with.
EXPORT void pcpu_close(PcpuEngine *engine) {
    while (engine && engine->busy.exchange(true)) std::this_thread::yield();
    delete engine;
}

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
        Run run = {engine, program, group_records(*program), {batch, cache, {}}};
        if (const PcpuAttend *a = first_attend(*program)) {
            run.step.attention = engine->planner.plan(*batch, *cache, a->num_heads, engine->team.size());
        }
        engine->team.run({&run, (int)run.groups.size(), phase_of_run, compute_in_run});
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
    const auto some = [&](int64_t first, int64_t end) {
        for (int64_t r = first; r < end; r++) {
            found[r] = engine->kernels->top(values + r * stride, size, count, indices + r * count, best + r * count);
        }
    };
    // Between steps the others may be asleep, or their cores busy with something else: waiting for them costs more than this.
    if (num_rows * size <= kTopAlone) some(0, num_rows);
    else for_ranges(engine->team, num_rows, some);
    return PCPU_OK;
}

// The size of a structure, for records.py to compare with its own.
EXPORT int64_t pcpu_sizeof(const char *name) {
#define SIZE(T) if (!strcmp(name, #T)) return sizeof(T);
    SIZE(PcpuSegment) SIZE(PcpuMatrix) SIZE(PcpuBuffer) SIZE(PcpuActivation) SIZE(PcpuEmbed) SIZE(PcpuNorm) SIZE(PcpuConvert)
    SIZE(PcpuAdd) SIZE(PcpuPart) SIZE(PcpuLinear) SIZE(PcpuGated) SIZE(PcpuStoreKV) SIZE(PcpuAttend)
    SIZE(PcpuDown) SIZE(PcpuShrink) SIZE(PcpuUp) SIZE(PcpuUps)
    SIZE(PcpuRouting) SIZE(PcpuRoute) SIZE(PcpuExpert) SIZE(PcpuExperts) SIZE(PcpuCombine) SIZE(PcpuRecord)
    SIZE(PcpuProgram) SIZE(PcpuPool) SIZE(PcpuCache) SIZE(PcpuBatch) SIZE(PcpuSource)
#undef SIZE
    return -1;
}
