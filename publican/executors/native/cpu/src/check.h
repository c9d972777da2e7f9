// The last look before the kernels, which look at nothing: sizes, pointers and indices. Costs microseconds.
//
// Plans are refused with a sentence in executors/page_table.py; what is found here is a bug of ours, and becomes an error
// code in place of a crash.
#pragma once

#include "records.h"

namespace pcpu {

PcpuError check_program(const PcpuProgram &program, const PcpuCache &cache);
PcpuError check_batch(const PcpuProgram &program, const PcpuCache &cache, const PcpuBatch &batch);

}  // namespace pcpu
