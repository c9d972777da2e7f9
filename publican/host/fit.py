"""How much context fits, for how many people: plain arithmetic before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from publican.core.errors import OutOfMemory
from publican.core.model import ModelSpec

_USABLE_SHARE = 0.8
"""Of the memory that is free: the rest is for the host process, activations, and everything else on the machine."""
_SHORTEST_CONTEXT = 512
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Fit:
    """Attributes:
    context_len: tokens of one conversation; `num_tokens`: of all together.
    why: one line for the host about what was decided and what limited it.
    """

    context_len: int
    num_tokens: int
    kv_bytes: int
    why: str


def kv_bytes_per_token(spec: ModelSpec, bytes_per_number: float) -> int:
    """Keys and values of one token in all layers."""
    return int(spec.num_layers * 2 * spec.num_kv_heads * spec.head_dim * bytes_per_number)


def fit(
    spec: ModelSpec, weight_bytes: int, bytes_per_number: float, available_bytes: int, context_len: int | None, num_users: int
) -> Fit:
    """The longest context that was asked for and fits, then as many users as fit at that length.

    Args:
        weight_bytes: what the weights will occupy.
        bytes_per_number: of a key or value in the cache.
        available_bytes: memory that may be taken.
        context_len: what was asked for; None is the model's own.

    Raises:
        OutOfMemory: with the numbers, if not even a short context fits.
    """
    per_token = kv_bytes_per_token(spec, bytes_per_number)
    room = int(available_bytes * _USABLE_SHARE) - weight_bytes
    num_fitting = max(0, room) // per_token
    wanted = context_len or spec.context_len
    if num_fitting < min(wanted, _SHORTEST_CONTEXT):
        raise OutOfMemory(
            f"The model needs {weight_bytes // _MIB:,} MiB and {per_token * _SHORTEST_CONTEXT // _MIB:,} MiB for a context of "
            f"{_SHORTEST_CONTEXT}, and {available_bytes // _MIB:,} MiB are free; take a smaller quant or free some memory."
        )
    if num_fitting < wanted:
        length = num_fitting // 256 * 256 or num_fitting
        return Fit(
            length, length, length * per_token, f"{length:,} of {wanted:,} tokens fit in {available_bytes // _MIB:,} MiB"
        )
    users = min(num_users, num_fitting // wanted)
    asked = "as asked" if context_len else "the model's own"
    limited = "" if users == num_users else f" (not {num_users}: {available_bytes // _MIB:,} MiB are free)"
    return Fit(wanted, wanted * users, wanted * users * per_token, f"{asked}, for {users} at full length{limited}")
