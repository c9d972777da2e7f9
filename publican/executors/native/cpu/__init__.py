"""The `cpu` backend: publican's own C++ operations, run as a recorded list, one call per step.

    lowering    a Program becomes records          packing   weights become panels
    records     the C structures, mirrored         library   the compiled library
    memory      large pages                        threads   how many cores there are
    compile     makes the library from src/

Knows nothing of files, families or plans. Imports NumPy and ctypes only.
"""

from __future__ import annotations

from typing import Literal

from publican.core.errors import SettingsError
from publican.executors.native.config import NativeConfig
from publican.executors.native.cpu.backend import CpuBackend
from publican.executors.native.cpu.config import CpuConfig
from publican.executors.native.program import Program


def make_backend(program: Program, config: NativeConfig) -> CpuBackend:
    """Load `program`.

    Raises:
        LibraryMissing: the C++ operations are not here; `plain` can take over.
        SettingsError: the config asks for what this backend has not.
        UnsupportedModel: the model has something that the kernels do not know.
    """
    if config.kv_dtype not in ("auto", "bf16", "q8"):
        raise SettingsError(
            f"The cpu backend keeps its cache in bf16 or q8, and {config.kv_dtype} was asked for; leave it on auto."
        )
    activations: Literal["int8", "bf16"] = "bf16" if config.quality else "int8"
    cpu = CpuConfig(config.num_threads, activations, "int8" if config.kv_dtype == "q8" else "bf16")
    return CpuBackend(program, config.num_pages, config.page_len, config.max_batch_tokens, config.max_logits, cpu)
