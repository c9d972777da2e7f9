// Matrices from a file's order into panels of 16 outputs (drawn in tiles.h), at load.
#pragma once

#include "records.h"

namespace pcpu {

// Panels first … end - 1 of `segment`, whose data is written although it is const to the kernels.
void pack_panels(const PcpuSource &source, const PcpuSegment &segment, int64_t first, int64_t end);

// Whether all numbers may be kept as float16: exactly, or if not `exact`, with no more than half an ulp lost.
bool fit_half(const float *values, int64_t count, bool exact);

// Bytes of a panel of `segment`.
int64_t panel_bytes(const PcpuSegment &segment);

}  // namespace pcpu
