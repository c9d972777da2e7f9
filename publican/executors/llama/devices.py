"""What libllama computes on, and with how many threads."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

CPU, GPU, INTEGRATED_GPU = 0, 1, 2  # enum ggml_backend_dev_type
_SUFFIXES = (".so", ".dylib", ".dll")


def gpu_names(library: Any) -> tuple[str, ...]:
    """The GPUs that this build of libllama can use: ``CUDA0 (NVIDIA H100 PCIe)``."""
    if not library.llama_supports_gpu_offload():
        return ()
    try:
        return device_names(library, (GPU, INTEGRATED_GPU))
    except (AttributeError, OSError):
        return ("GPU",)  # the functions that name it belong to ggml, and this build hides them


def device_names(library: Any, kinds: tuple[int, ...]) -> tuple[str, ...]:
    """ggml's devices of these kinds, in its order, each with what it calls itself."""
    folder = Path(library._lib._name).parent
    beside = sorted(path for path in folder.glob("*ggml*") if path.suffix in _SUFFIXES)
    libraries = [library._lib, *(ctypes.CDLL(str(path)) for path in beside)]
    count = _function(libraries, "count", ctypes.c_size_t)
    get = _function(libraries, "get", ctypes.c_void_p, ctypes.c_size_t)
    kind = _function(libraries, "type", ctypes.c_int, ctypes.c_void_p)
    name = _function(libraries, "name", ctypes.c_char_p, ctypes.c_void_p)
    description = _function(libraries, "description", ctypes.c_char_p, ctypes.c_void_p)
    devices = [device for i in range(count()) if kind(device := get(i)) in kinds]
    return tuple(f"{name(device).decode()} ({description(device).decode()})" for device in devices)


def _function(libraries: list[ctypes.CDLL], name: str, restype: Any, *argtypes: Any) -> Callable[..., Any]:
    """``ggml_backend_dev_<name>`` from whichever library has it.

    Raises:
        AttributeError: none has.
    """
    full_name = f"ggml_backend_dev_{name}"
    for library in libraries:
        if hasattr(library, full_name):
            function = getattr(library, full_name)
            function.restype, function.argtypes = restype, argtypes
            return function  # type: ignore[no-any-return]
    raise AttributeError(full_name)


def num_processors() -> int:
    """How many this process may use. A host that knows better (physical cores, a quota) says so in `LlamaConfig`."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
