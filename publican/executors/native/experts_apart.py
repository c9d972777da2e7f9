"""Tensors that have all experts of a layer in one, seen as one tensor for each expert: the same bytes under more names.

So every format that reads a matrix reads an expert's, and a loader needs one expert's numbers at a time. Names and arithmetic
only; nothing is read. Used while a model is described, on any thread.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping

from publican.core.model import TensorInfo

_MOST_EXPERTS = 4_096
_STACKED: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"(blk\.\d+)\.ffn_(gate|up|down)_exps\.weight"), (r"\1.ffn_\2.{}.weight",)),
    (re.compile(r"(blk\.\d+)\.ffn_gate_up_exps\.weight"), (r"\1.ffn_gate.{}.weight", r"\1.ffn_up.{}.weight")),
    (re.compile(r"(.+\.mlp\.experts)\.down_proj"), (r"\1.{}.down_proj.weight",)),
    (re.compile(r"(.+\.mlp\.experts)\.gate_up_proj"), (r"\1.{}.gate_proj.weight", r"\1.{}.up_proj.weight")),
)
"""How llama.cpp and transformers name such tensors [experts, outputs, inputs], and what each expert's parts are called by
those who keep experts apart. Gate and up of one tensor are its first and its second half of outputs."""


def experts_apart(tensors: Mapping[str, TensorInfo]) -> Mapping[str, TensorInfo]:
    """`tensors`, with those of `_STACKED` replaced by their experts'. One that does not divide so is left as it is."""
    found: dict[str, TensorInfo] = {}
    for name, info in tensors.items():
        names = [pattern.sub(part, name) for pattern, parts in _STACKED if pattern.fullmatch(name) for part in parts]
        if names and _divides(info, len(names)):
            found.update((part.name, part) for part in _parts(info, names))
        else:
            found[name] = info
    return found


def _divides(info: TensorInfo, num_parts: int) -> bool:
    if len(info.shape) != 3 or min(info.shape) < 1 or info.shape[0] > _MOST_EXPERTS or info.num_bytes < 1:
        return False
    return info.shape[1] % num_parts == 0 and info.num_bytes % (info.shape[0] * num_parts) == 0


def _parts(info: TensorInfo, names: list[str]) -> Iterator[TensorInfo]:
    num_experts, num_outputs, num_inputs = info.shape
    num_bytes = info.num_bytes // (num_experts * len(names))
    shape = num_outputs // len(names), num_inputs
    for i in range(num_experts * len(names)):
        expert, part = divmod(i, len(names))
        name = names[part].format(expert)
        yield dataclasses.replace(info, name=name, shape=shape, offset=info.offset + i * num_bytes, num_bytes=num_bytes)
