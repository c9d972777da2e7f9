"""What fits: the longest context for so many people, the most people at such a context, and what would make a wish fit.

Pure; called by `host.fit`, which decides with it, and by `publican fit`, which shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from publican.core.cache_types import EngineName, KVType, kv_types
from publican.core.model import ModelSpec
from publican.hardware.engines import Load, needs
from publican.hardware.plan import Cut, Devices, Plan, place
from publican.hardware.sizes import shown
from publican.hardware.weights import Weight, bits_per_weight, requantised

SHORTEST_CONTEXT = 512
_LONGEST_CONTEXT = 1 << 24
_MOST_USERS = 1_000
_FEWER_BITS = (8, 6, 5, 4, 3, 2)
_DISK_MARGIN = 1.05
_NO_CUT = Cut()


@dataclass(frozen=True, slots=True)
class Remedy:
    """Something that would make a wish fit, in words, and the wish as it would then be."""

    text: str
    load: Load


@dataclass(frozen=True, slots=True)
class Planner:
    """One model, one engine, one machine. `is_encoder`: a model that reads whole texts, writes none, and has no cache."""

    engine: EngineName
    spec: ModelSpec
    weights: tuple[Weight, ...]
    devices: Devices
    cut: Cut = _NO_CUT
    is_encoder: bool = False

    @property
    def kv_types(self) -> tuple[KVType, ...]:
        """What the engine can keep this model's keys and values as, its own choice first."""
        return kv_types(self.engine, self.spec.head_dim)

    def plan(self, load: Load) -> Plan:
        return place(needs(self.engine, self.spec, self.weights, load, self.is_encoder), load, self.devices, self.cut)

    def fits(self, load: Load) -> bool:
        return self.plan(load).fits

    def longest_context(self, load: Load, most: int = _LONGEST_CONTEXT) -> int:
        """The longest context, up to `most`, that all users of `load` can have; whole 256s, and 0 if there is none."""
        length = _largest(most, lambda n: self.fits(replace(load, context_len=n)))
        return length if length == most or length < 256 else length // 256 * 256

    def most_users(self, load: Load) -> int:
        """How many people can have the context of `load` at full length at once; at most 1,000."""
        return _largest(_MOST_USERS, lambda n: self.fits(replace(load, num_users=n)))

    def remedies(self, load: Load) -> tuple[Remedy, ...]:
        """Each alone makes `load` fit; none if it fits as it is, or nothing helps."""
        if self.fits(load):
            return ()
        found = [*self._smaller_cache(load), *self._fewer_users(load), *self._less_context(load), *self._fewer_bits(load)]
        return tuple(found)

    def _smaller_cache(self, load: Load) -> list[Remedy]:
        types = self.kv_types
        smaller = types[types.index(load.kv_type) + 1 :] if load.kv_type in types else ()
        for kv_type in (each for each in smaller if each in ("q8", "q4")):
            changed = replace(load, kv_type=kv_type)
            if self.fits(changed):
                return [Remedy(f"keys and values in {kv_type} (--kv-type {kv_type})", changed)]
        return []

    def _fewer_users(self, load: Load) -> list[Remedy]:
        users = self.most_users(load)
        if not 0 < users < load.num_users:
            return []
        return [
            Remedy(
                f"room for {users} instead of {load.num_users} at full length (--users {users})", replace(load, num_users=users)
            )
        ]

    def _less_context(self, load: Load) -> list[Remedy]:
        length = self.longest_context(load, load.context_len)
        if not SHORTEST_CONTEXT <= length < load.context_len:
            return []
        return [
            Remedy(
                f"a context of {length:,} instead of {load.context_len:,} (--ctx {length})", replace(load, context_len=length)
            )
        ]

    def _fewer_bits(self, load: Load) -> list[Remedy]:
        if self.engine == "plain":
            return []
        now = bits_per_weight(w for w in self.weights if w.role == "layer")
        for bits in (each for each in _FEWER_BITS if each + 0.3 < now):
            smaller = replace(self, weights=requantised(self.weights, bits))
            if smaller.fits(load):
                size = shown(sum(w.num_bytes for w in smaller.weights))
                return [Remedy(f"the same model with {bits} bits a weight instead of {now:.1f} (about {size})", load)]
        return []


def disk_bytes(weights: tuple[Weight, ...]) -> int:
    """What downloading a model takes: its files, and a little for whatever comes with them."""
    return int(_DISK_MARGIN * sum(w.num_bytes for w in weights))


def _largest(most: int, is_good: Callable[[int], bool]) -> int:
    """The largest number from 1 to `most` that is good, if those below a good one are good; 0 for none."""
    low, high = 0, most
    if is_good(most):
        return most
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_good(middle) else (low, middle)
    return low
