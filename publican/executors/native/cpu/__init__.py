"""The `cpu` backend: publican's own C++ operations, run as a recorded list, one call per step.

    lowering    a Program becomes records          packing   weights become panels
    records     the C structures, mirrored         library   the compiled library
    memory      large pages                        threads   how many cores there are
    compile     makes the library from src/

Knows nothing of files, families or plans. Imports NumPy and ctypes only.
"""

from __future__ import annotations

from typing import Literal

from publican.core.cache_types import check_kv_type
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu.backend import CpuBackend
from publican.executors.native.cpu.config import CpuConfig, KVStorage
from publican.executors.native.program import Program


def make_backend(program: Program, config: NativeConfig) -> CpuBackend:
    """Load `program`.

    Raises:
        LibraryMissing: the C++ operations are not here; `plain` can take over.
        SettingsError: the config asks for what this backend has not.
        UnsupportedModel: the model has something that the kernels do not know.
    """
    kv_storages: dict[str, KVStorage] = {"auto": "bf16", "bf16": "bf16", "q8": "int8", "q4": "int4"}
    check_kv_type("cpu", program.head_dim, config.kv_dtype)
    activations: Literal["int8", "bf16"] = "bf16" if config.quality else "int8"
    cpu = CpuConfig(config.num_threads, activations, kv_storages[config.kv_dtype])
    return CpuBackend(
        program, (config.num_pages, config.num_windowed_pages), config.page_len, config.max_batch_tokens, config.max_logits, cpu
    )
