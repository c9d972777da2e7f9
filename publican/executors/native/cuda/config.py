"""What a host decides about the `cuda` backend, and what follows from the machine. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kernels = Literal["triton", "torch"]
DtypeName = Literal["bf16", "f16", "f32"]
CacheName = Literal["bf16", "f16", "f32", "q8", "q4"]


@dataclass(frozen=True, slots=True)
class CudaConfig:
    """Settings of a backend.

    Attributes:
        devices: torch's names of the devices that share the layers, in order; several may be the same one.
        budgets_gb: how much of each device may be used, in GB of 2^30 bytes, as people write it; empty is what is free.
        kernels: ``triton``, or ``torch``, the plain twins, which run on any device and are slow.
        dtype: of activations and of dense weights; sums and the residual stream are float32 in any case.
        kv_dtype: of keys and values; ``q8`` is int8 with a scale for each token and head, ``q4`` two codes in a byte with a
            step for every 32 numbers of a token and head.
        exact_scales: keep scales and offsets of quantised weights as float32 instead of float16.
        graphs: replay steps of decoding as CUDA graphs; needs a single CUDA device.
    """

    devices: tuple[str, ...] = ("cuda:0",)
    budgets_gb: tuple[float, ...] = ()
    kernels: Kernels = "triton"
    dtype: DtypeName = "bf16"
    kv_dtype: CacheName = "bf16"
    exact_scales: bool = False
    graphs: bool = True
