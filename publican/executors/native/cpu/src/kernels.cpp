// The kernels of one instruction set. Compiled several times: the flags choose the instructions and PCPU_VARIANT the name.
//
// Everything is in an unnamed namespace, so that no symbol but the table leaves this file (kernels.h says why), and in one of
// the variant's name, so that tests can tell in the machine code whose a function is.
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE_BODY __attribute__((always_inline))

namespace pcpu {
namespace {
namespace PCPU_VARIANT {

#include "simd.h"
#include "activation.h"
#include "tiles.h"
#include "rowwise.h"
#include "adapters.h"
#include "matmul.h"
#include "mixture.h"
#include "kv.h"
#include "rope.h"
#include "attention.h"
#include "top.h"

}  // namespace PCPU_VARIANT
}  // namespace

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

const Kernels *JOIN(kernels_, PCPU_VARIANT)() {
    using namespace PCPU_VARIANT;
    // In the order of PcpuKind.
    static constexpr Kernels kernels = {
        TEXT(PCPU_VARIANT),
        {
            {token_rows, embed},
            {token_rows, norm},
            {token_rows, convert},
            {token_rows, add_rows},
            {token_rows, store_kv},
            {linear_panels, linear},
            {gated_pairs, gated},
            {attend_items, attend},
            {final_rows, final_norm},
            {token_rows, route},
            {group_phase, group},
            {place_rows, spread},
            {expert_gated_phase, expert_gated},
            {place_rows, convert_inner},
            {expert_down_phase, expert_down},
            {token_rows, combine},
            {shrink_panels, shrink},
        },
        top,
    };
    return &kernels;
}

}  // namespace pcpu
