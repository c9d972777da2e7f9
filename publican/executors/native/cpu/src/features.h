// Which variants of the kernels this CPU, under this operating system, can run.
#pragma once

#include "kernels.h"

namespace pcpu {

struct Variant {
    const Kernels *(*kernels)();
    const char *name;
    bool (*supported)();
};

// Those that were compiled, the fastest first; the last one runs anywhere.
extern const Variant kVariants[];
extern const int kNumVariants;

}  // namespace pcpu
