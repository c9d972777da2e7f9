"""`Form`: a quantisation by name, with what there is to know about it. A value; made by `gguf` and `hf`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Form:
    """How the weights are kept.

    Attributes:
        name: as people call it: ``GPTQ``, ``Q4_K_M``, ``plain bf16``.
        num_params: numbers that the model has, however they are packed; 0 if that cannot be told.
        num_bytes: of all tensors, scales and tables included.
        facts: more about it, for people, in a good order.
    """

    name: str
    num_params: int
    num_bytes: int
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.num_bytes / self.num_params if self.num_params else 0.0
