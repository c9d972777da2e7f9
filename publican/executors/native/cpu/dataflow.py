"""Who reads what whom wrote: from it follow the forms that each operation must leave behind, and what may run together."""

from __future__ import annotations

from collections.abc import Sequence

from publican.executors.native.program import Add, Attend, Embed, Experts, Linear, Logits, Norm, Op, StoreKV


def written(op: Op) -> str | None:
    """The buffer that an operation writes, wholly or in part."""
    match op:
        case StoreKV():
            return op.src
        case Logits():
            return None
        case _:
            return op.dst


def reads_floats(op: Op) -> tuple[str, ...]:
    """The buffers that an operation reads as they are. Linear layers read forms, which `last_writer` leads to."""
    match op:
        case Norm() | Add() | StoreKV() | Attend() | Logits():
            return (op.src,)
        case Experts():
            return (op.src, op.shared) if op.shared else (op.src,)
        case _:
            return ()


def last_writer(ops: Sequence[Op], reader: int, buffer: str) -> int:
    """The operation whose result `reader` finds in `buffer`."""
    for i in range(reader - 1, -1, -1):
        if written(ops[i]) == buffer:
            return i
    raise AssertionError(f"operation {reader} reads {buffer!r}, which nobody wrote")


def independent_run(ops: Sequence[Op], first: int) -> int:
    """How many linear layers from `first` on read the same buffer and write apart from one another."""
    taken: list[tuple[str, int, int]] = []
    for i in range(first, len(ops)):
        op = ops[i]
        if not isinstance(op, Linear) or op.src != _source(ops[first]) or op.dst == op.src:
            break
        start, end = op.column, op.column + op.weight.shape[0]
        if any(name == op.dst and start < other_end and other_start < end for name, other_start, other_end in taken):
            break
        taken.append((op.dst, start, end))
    return max(1, len(taken))


def _source(op: Op) -> str:
    return "" if isinstance(op, Embed) else op.src
