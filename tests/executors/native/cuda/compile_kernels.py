"""Compiles every kernel for an architecture and prints a line for each: name, registers, shared memory, bytes spilled.

    python -m tests.executors.native.cuda.compile_kernels 90

Needs Triton and no card. Arguments are as for a 4-bit model with heads of 128 numbers, and bfloat16 activations.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[4]))

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from publican.executors.native.cuda.kernels import attention, experts, rows
from publican.executors.native.cuda.kernels.dequantise import _dequantise
from publican.executors.native.cuda.kernels.gemm import _gemm
from publican.executors.native.cuda.kernels.gemv import _gemv
from publican.executors.native.cuda.kernels.store_kv import _store_kv, _store_nibbles

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
HALF = {
    "scale_ptr": "fp16",
    "offset_ptr": "fp16",
    "x_ptr": "bf16",
    "w_ptr": "bf16",
    "keys_ptr": "bf16",
    "values_ptr": "bf16",
    "q_ptr": "bf16",
}
HALF |= {"key_scale_ptr": "fp16", "value_scale_ptr": "fp16", "qkv_ptr": "bf16", "src_ptr": "bf16", "dst_ptr": "bf16"}
INTEGERS = {
    "low_ptr",
    "high_ptr",
    "row_ptr",
    "blocks_ptr",
    "block_ptr",
    "owner_ptr",
    "pages_ptr",
    "positions_ptr",
    "owners_ptr",
    "order_ptr",
}
FLOATS = {"scale", "softcap", "eps", "factor"}
UNALIGNED = {"num_rows", "chunks_per_split", "table_width", "window", "num_parts", "part_stride"}


def gemv(low: int, high: int, run: int, experts: bool = False) -> Any:
    return _gemv, {"LOW": low, "HIGH": high, "RUN": run, "HAS_BIAS": True, "EXPERTS": experts, "BLOCK_N": 8, "CHUNKS": 16}, 4


def gemm(low: int, high: int, run: int, block_m: int, experts: bool = False) -> Any:
    return (
        _gemm,
        {"LOW": low, "HIGH": high, "RUN": run, "RAISED": 128, "EXPERTS": experts, "BLOCK_N": 64, "BLOCK_M": block_m},
        4 if block_m < 64 else 8,
    )


def attend(parts: int, block_m: int, flag: bool, dim: int = 128) -> Any:
    block_t = 64 if dim <= 128 else 32
    more = {
        "PARTS": parts,
        "HAS_WINDOW": flag,
        "HAS_CAP": flag,
        "HAS_SCALES": False,
        "NIBBLES": False,
        "BLOCK_M": block_m,
        "BLOCK_T": block_t,
        "BLOCK_D": dim,
    }
    return attention._attend, {"GROUP": 4, "DIM": dim, "PAGE_LEN": 16, **more}, 4


def attend_8_bit() -> Any:
    kernel, constants, num_warps = attend(16, 16, False)
    return kernel, constants | {"HAS_SCALES": True}, num_warps


def attend_4_bit(parts: int, block_m: int) -> Any:
    kernel, constants, num_warps = attend(parts, block_m, False)
    return kernel, constants | {"NIBBLES": True, "BLOCK_D": 64}, num_warps


STORE = {
    "NUM_Q": 32,
    "NUM_KV": 8,
    "DIM": 128,
    "PAGE_LEN": 16,
    "HALF": 64,
    "HAS_ROPE": True,
    "SMALLEST": 2.0**-14,
    "BLOCK_HALF": 64,
    "BLOCK_REST": 1,
    "IN_PLACE": False,
}
NIBBLES = {"NUM_Q": 32, "NUM_KV": 8, "DIM": 128, "PAGE_LEN": 16, "SMALLEST": 2.0**-14, "GROUPS": 4}
KERNELS: dict[str, Any] = {
    "gemv-4": gemv(4, 0, 8),
    "gemv-2": gemv(2, 0, 1),
    "gemv-8": gemv(8, 0, 4),
    "gemv-3": gemv(2, 1, 8),
    "gemv-6": gemv(4, 2, 1),
    "gemv-4-experts": gemv(4, 0, 8, experts=True),
    "gemm-4-16-experts": gemm(4, 0, 8, 16, experts=True),
    "gemm-4-64-experts": gemm(4, 0, 2, 64, experts=True),
    "experts-dense": (experts._grouped, {"BLOCK_N": 64, "BLOCK_M": 64, "BLOCK_K": 64}, 4),
    "gemm-4-16": gemm(4, 0, 8, 16),
    "gemm-4-64": gemm(4, 0, 2, 64),
    "gemm-5-32": gemm(4, 1, 8, 32),
    "dequantise-6": (_dequantise, {"LOW": 4, "HIGH": 2, "RUN": 1, "HAS_ROWS": True, "BLOCK_N": 32}, 4),
    "attend-prompt": attend(1, 64, True),
    "attend-wide": attend(1, 64, True, 256),
    "attend-decode": attend(16, 16, False),
    "attend-8-bit": attend_8_bit(),
    "attend-4-bit": attend_4_bit(16, 16),
    "attend-4-bit-prompt": attend_4_bit(1, 64),
    "join": (attention._join, {"GROUP": 4, "DIM": 128, "PARTS": 16, "BLOCK_M": 16, "BLOCK_D": 128}, 2),
    "store_kv": (_store_kv, STORE | {"HAS_NORM": False, "HAS_SCALES": False}, 1),
    "store_kv-norm": (_store_kv, STORE | {"HAS_NORM": True, "HAS_SCALES": True}, 1),
    "store_kv-4-bit": (_store_kv, STORE | {"HAS_NORM": False, "HAS_SCALES": False, "IN_PLACE": True}, 1),
    "store_nibbles": (_store_nibbles, NIBBLES, 1),
    "norm": (rows._norm, {"BLOCK": 4096}, 8),
    "add": (rows._add, {"HAS_BIAS": True, "HAS_NORM": True, "BLOCK": 8192}, 16),
    "collect": (rows._collect, {"HAS_BIAS": True, "BLOCK": 1024}, 4),
    "gate": (rows._gate, {"GELU": True, "BLOCK": 1024}, 4),
    "gather": (rows._gather, {"BLOCK": 1024}, 4),
}


def build(kernel: Any, constants: dict[str, Any], num_warps: int, architecture: int) -> Any:
    signature: dict[str, str] = {}
    fixed, attributes = {}, {}
    for i, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name], fixed[(i,)] = "constexpr", constants[name]
            continue
        if name.endswith("_ptr"):
            signature[name] = "*i32" if name in INTEGERS else f"*{HALF.get(name, 'fp32')}"
            if constants.get("HAS_SCALES") and name in ("keys_ptr", "values_ptr"):
                signature[name] = "*i8"
            if (constants.get("NIBBLES") or "GROUPS" in constants) and name in ("keys_ptr", "values_ptr"):
                signature[name] = "*u8"
        else:
            signature[name] = "fp32" if name in FLOATS else "i32"
        if name not in FLOATS | UNALIGNED:
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=fixed, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": num_warps, "num_stages": 2})


def used(cubin: bytes) -> tuple[int, int]:
    """Registers per thread and bytes of local memory, where what does not fit into registers goes."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(TOOLS / "cuobjdump"), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    return found["REG"], found["STACK"] + found["LOCAL"]


def main() -> None:
    for name, (kernel, constants, num_warps) in KERNELS.items():
        made = build(kernel, constants, num_warps, int(sys.argv[1]))
        if name.startswith("gemv"):  # codes are subnormal numbers, which must not be taken for zero
            assert "fma" in made.asm["ptx"]
            assert ".ftz" not in made.asm["ptx"]
        registers, spilled = used(made.asm["cubin"])
        print(name, registers, made.metadata.shared, spilled, flush=True)


if __name__ == "__main__":
    main()
