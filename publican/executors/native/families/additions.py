"""What adapters add to each linear layer of a program, cut as the program has its matrices. Loading thread.

An adapter names q, k, v, gate and up as the original model has them; a program may have several of them in one matrix, or one
of them in several. Their outputs are in the same order: what a GGUF shuffles is shuffled back before (`build`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from publican.core.model import ModelSpec
from publican.executors.native.adapters import Adapters
from publican.executors.native.families.family import Role
from publican.executors.native.layout import DenseMatrix
from publican.executors.native.program import LowRank

Added = tuple[LowRank, ...]


@dataclass(frozen=True, slots=True)
class Additions:
    """The additions of one model; `adapters` is None where there are none."""

    adapters: Adapters | None
    spec: ModelSpec

    def of(self, role: Role, layer: int) -> Added:
        return self.adapters.of(role, layer) if self.adapters is not None else ()

    def qkv(self, layer: int) -> Added:
        """Of q, k and v side by side."""
        spec = self.spec
        q, kv = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        starts: tuple[tuple[Role, int], ...] = (("q", 0), ("k", q), ("v", q + kv))
        parts = [replace(each, column=start) for role, start in starts for each in self.of(role, layer)]
        return (*self.of("qkv", layer), *parts)

    def gate_and_up(self, layer: int) -> tuple[Added, Added]:
        width, whole = self.spec.ffn_size, self.of("gate_up", layer)
        return self.of("gate", layer) + cut(whole, 0, width), self.of("up", layer) + cut(whole, width, 2 * width)


def cut(added: Added, start: int, end: int) -> Added:
    """What is added to outputs start … end - 1, counted from `start`."""
    found = []
    for each in added:
        first, last = max(start, each.column), min(end, each.column + each.up.shape[0])
        if first < last:
            up = DenseMatrix(each.up.values[first - each.column : last - each.column])
            found.append(replace(each, up=up, column=first - start))
    return tuple(found)
