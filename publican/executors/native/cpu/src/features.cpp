#include "features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace pcpu {
namespace {

bool always() { return true; }

#if defined(__x86_64__)

struct Leaf {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf leaf(unsigned number, unsigned part) {
    Leaf l;
    __get_cpuid_count(number, part, &l.eax, &l.ebx, &l.ecx, &l.edx);  // leaves zeros where there is no such leaf
    return l;
}

bool has(unsigned word, int bit) { return word >> bit & 1; }

// What the operating system saves on a switch of tasks: registers it does not save may not be used.
uint64_t saved_state() {
    if (!has(leaf(1, 0).ecx, 27)) return 0;  // OSXSAVE
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

bool has_avx2() {
    const Leaf one = leaf(1, 0), seven = leaf(7, 0);
    const bool registers = (saved_state() & 0x6) == 0x6;                               // xmm, ymm
    return registers && has(one.ecx, 28) && has(one.ecx, 12) && has(one.ecx, 29) && has(seven.ebx, 5);  // avx fma f16c avx2
}

bool has_avx2_vnni() { return has_avx2() && leaf(7, 0).eax >= 1 && has(leaf(7, 1).eax, 4); }

bool has_avx512_vnni() {
    const Leaf seven = leaf(7, 0);
    const bool registers = (saved_state() & 0xe6) == 0xe6;                             // masks, upper zmm halves, zmm16-31
    const bool sets = has(seven.ebx, 16) && has(seven.ebx, 17) && has(seven.ebx, 30) && has(seven.ebx, 31);  // f dq bw vl
    return has_avx2() && registers && sets && has(seven.ecx, 11);                      // vnni
}

bool has_avx512_bf16() { return has_avx512_vnni() && leaf(7, 0).eax >= 1 && has(leaf(7, 1).eax, 5); }

#elif defined(__aarch64__)

bool has_neon_dot() {
#if defined(__APPLE__)
    return true;  // every Apple CPU of 64 bits that runs macOS
#elif defined(__linux__)
    return getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP
#else
    return false;
#endif
}

#endif

}  // namespace

const Variant kVariants[] = {
#if defined(__x86_64__)
    {kernels_avx512_bf16, "avx512_bf16", has_avx512_bf16},
    {kernels_avx512_vnni, "avx512_vnni", has_avx512_vnni},
    {kernels_avx2_vnni, "avx2_vnni", has_avx2_vnni},
    {kernels_avx2, "avx2", has_avx2},
#elif defined(__aarch64__)
    {kernels_neon_dot, "neon_dot", has_neon_dot},
#endif
    {kernels_portable, "portable", always},
};
const int kNumVariants = (int)(sizeof kVariants / sizeof *kVariants);

}  // namespace pcpu
