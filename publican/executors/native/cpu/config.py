"""What a host decides about the `cpu` backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """Settings of a backend.

    Attributes:
        num_threads: of the team, the calling thread being one; 0 is one for each physical core that may be used.
        activations: ``int8`` with a scale per 32 numbers, or ``bf16``, which is slower and ten times as exact.
        kv: how keys and values are kept: ``bf16``, or ``int8`` with a scale per token and head, in half the memory.
        variant: which kernels to use, by name, where it is not to be the best that the CPU can run.
    """

    num_threads: int = 0
    activations: Literal["int8", "bf16"] = "int8"
    kv: Literal["bf16", "int8"] = "bf16"
    variant: str | None = None
