"""The whole backend on the CPU: with the twins, or with the kernels interpreted."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from publican.core.executor import ExecutorInfo, Pages
from publican.core.model import Checkpoint
from publican.executors.native.config import NativeConfig
from publican.executors.native.cuda.backend import CudaBackend
from publican.executors.native.cuda.config import CudaConfig
from publican.executors.native.executor import NativeExecutor
from publican.executors.native.loading import describe
from publican.executors.native.program import Program

EXACT = CudaConfig(devices=("cpu",), kernels="torch", dtype="f32", kv_dtype="f32", exact_scales=True)


def backend_of(program: Program, info: ExecutorInfo, **changes: Any) -> CudaBackend:
    config = dataclasses.replace(EXACT, **changes)
    if torch.cuda.is_available() and config.kernels == "triton":
        config = dataclasses.replace(config, devices=("cuda:0",) * len(config.devices))
    memory = info.memory
    assert isinstance(memory, Pages)
    return CudaBackend(
        program,
        (memory.num_pages, memory.page_len),
        (info.max_batch_tokens, info.num_slots),
        config,
        num_windowed_pages=memory.num_windowed_pages,
    )


def load_on_cpu(checkpoint: Checkpoint, config: NativeConfig, **changes: Any) -> NativeExecutor:
    """As `loading.load` does it."""
    program, info, _ = describe(checkpoint, dataclasses.replace(config, backend="cuda"))
    backend = backend_of(program, info, **changes)
    return NativeExecutor(dataclasses.replace(info, device=backend.device), backend)
