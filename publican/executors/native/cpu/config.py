"""What a host decides about the `cpu` backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KVStorage = Literal["bf16", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """Settings of a backend.

    Attributes:
        num_threads: of the team, the calling thread being one; 0 is one for each physical core that may be used.
        activations: ``int8`` with a scale per 32 numbers, or ``bf16``, which is slower and ten times as exact.
        kv: how keys and values are kept: ``bf16``; ``int8`` with a scale per token and head, in half the memory; or ``int4``
            with a step for every 32 numbers, in little more than a quarter, and less exact by far.
        variant: which kernels to use, by name, where it is not to be the best that the CPU can run.
    """

    num_threads: int = 0
    activations: Literal["int8", "bf16"] = "int8"
    kv: KVStorage = "bf16"
    variant: str | None = None
