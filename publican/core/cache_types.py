"""What each engine can keep keys and values as: the one place that executors refuse by and that planners plan by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from publican.core.errors import SettingsError

EngineName = Literal["cuda", "cpu", "plain", "llama"]
"""The three backends of native, and libllama."""
KVType = Literal["f32", "f16", "bf16", "q8", "q4"]

KV_TYPES: Mapping[EngineName, tuple[KVType, ...]] = {
    "cuda": ("bf16", "f16", "f32", "q8", "q4"),
    "cpu": ("bf16", "q8", "q4"),
    "plain": ("f32", "q8", "q4"),
    "llama": ("f16", "bf16", "f32", "q8", "q4"),
}
"""Each engine's, its own choice first, then from the largest to the smallest; of some heads it cannot keep all of them."""

_BLOCKED: Mapping[EngineName, tuple[KVType, ...]] = {"cuda": ("q4",), "llama": ("q8", "q4")}
"""Types in whole blocks only: a head must be so many of them."""
_BLOCK_LEN = 32


def kv_types(engine: EngineName, head_dim: int) -> tuple[KVType, ...]:
    """What `engine` can keep keys and values of `head_dim` numbers as, its own choice first."""
    blocked = _BLOCKED.get(engine, ()) if head_dim % _BLOCK_LEN else ()
    return tuple(kv_type for kv_type in KV_TYPES[engine] if kv_type not in blocked)


def check_kv_type(engine: EngineName, head_dim: int, kv_type: KVType | Literal["auto"]) -> None:
    """Raises SettingsError if `engine` cannot keep heads of `head_dim` numbers as `kv_type`; ``auto`` it always can."""
    types = kv_types(engine, head_dim)
    if kv_type == "auto" or kv_type in types:
        return
    here = "The llama loader" if engine == "llama" else f"The {engine} backend"
    what = f"heads of {head_dim} numbers" if kv_type in KV_TYPES[engine] else "its cache"
    listed = f"{', '.join(types[:-1])} or {types[-1]}"
    raise SettingsError(f"{here} keeps {what} in {listed}, and {kv_type} was asked for; leave it on auto.")
