"""The `cuda` backend: torch and Triton on NVIDIA cards.

    lowering    a Program becomes instructions      packing    weights become words on a device
    steps       the instructions                    placement  layers go to devices
    operations  what a device can compute           inputs     a batch on its way to the device
    kernels     … in Triton                         graphs     steps of decoding, captured and replayed
    twins       … in plain torch

Knows nothing of files, families or plans. Importing this imports torch; Triton only once there are kernels to run.
"""

from __future__ import annotations

from publican.core.cache_types import check_kv_type
from publican.core.errors import UnsupportedModel
from publican.executors.native.config import NativeConfig
from publican.executors.native.cuda.backend import CudaBackend
from publican.executors.native.cuda.config import CacheName, CudaConfig, DtypeName
from publican.executors.native.cuda.devices import best_dtype, visible_devices
from publican.executors.native.program import Program


def make_backend(program: Program, config: NativeConfig) -> CudaBackend:
    """Load `program` on every NVIDIA card there is, filling one after another.

    Raises:
        SettingsError: there is no card, or the config asks for what this backend has not.
        UnsupportedModel: the card is too old, or the model has something that the kernels do not know.
        OutOfMemory: it does not fit into the split that was given. MemoryError: it does not fit.
    """
    check_kv_type("cuda", program.head_dim, config.kv_dtype)
    devices = visible_devices()
    from triton.errors import TritonError  # type: ignore[import-untyped]

    dtype: DtypeName = "f32" if config.quality else best_dtype(devices)
    split = config.gpu_split
    cuda = CudaConfig(
        devices=devices[: len(split)] if split else devices,
        budgets_gb=split,
        dtype=dtype,
        kv_dtype=best_dtype(devices) if config.kv_dtype == "auto" else _kv_dtype(config.kv_dtype),
        exact_scales=config.quality,
    )
    limits = config.max_batch_tokens, config.num_slots
    backend = CudaBackend(
        program, (config.num_pages, config.page_len), limits, cuda, num_windowed_pages=config.num_windowed_pages
    )
    try:
        backend.warm_up()
    except TritonError as error:
        raise UnsupportedModel(
            f"Triton cannot make the kernels for this card ({str(error).strip().partition(chr(10))[0][:200]}); "
            "pull the model as GGUF and take the loader llama."
        ) from error
    return backend


def _kv_dtype(name: str) -> CacheName:
    names: tuple[CacheName, ...] = ("bf16", "f16", "f32", "q8", "q4")
    return next(each for each in names if each == name)


__all__ = ["CudaBackend", "CudaConfig", "make_backend"]
