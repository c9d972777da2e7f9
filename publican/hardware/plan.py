"""Where a model's layers go: so much on each GPU, so much in main memory, and what is left of each.

`place` divides what an engine needs (`hardware.engines`) among devices. A plan that does not fit is a plan too, with room
below zero: it says by how much. Pure; called by `hardware.planner`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from publican.core.cache_types import EngineName
from publican.hardware.engines import Load, Needs
from publican.hardware.machine import Machine
from publican.hardware.nvml import Gpu
from publican.hardware.sizes import GIB, MIB


@dataclass(frozen=True, slots=True)
class Device:
    """A memory. `reserve_bytes` of it are left alone: for fragments, for the desktop, for what nobody thought of."""

    name: str
    total_bytes: int
    free_bytes: int
    is_gpu: bool

    @property
    def reserve_bytes(self) -> int:
        return max(256 * MIB, int(self.total_bytes * (0.015 if self.is_gpu else 0.03)))


@dataclass(frozen=True, slots=True)
class Devices:
    """`ram` is None where GPU and processor share one memory: it is then the first GPU."""

    gpus: tuple[Device, ...]
    ram: Device | None

    @classmethod
    def of(cls, machine: Machine) -> Devices:
        gpus = tuple(Device(_name(gpu), gpu.total_bytes, gpu.free_bytes, True) for gpu in machine.gpus)
        ram = Device("memory", machine.total_bytes, machine.available_bytes, False)
        return cls(gpus, None if machine.is_unified else ram)


def _name(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.name})"


@dataclass(frozen=True, slots=True)
class Cut:
    """What a person decided about dividing: None and empty leave it to the arithmetic.

    Attributes:
        gpu_layers: layers on GPUs; only libllama can leave the others in main memory.
        split: GB of each GPU that layers and their cache may take; libllama takes the numbers as shares.
    """

    gpu_layers: int | None = None
    split: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """What lies on one device.

    Attributes:
        scratch_bytes: what steps are worked out in, logits with it.
        overhead_bytes: of the process, its context and graphs.
        passing_bytes: beyond all these, and only while the model is being loaded.
    """

    device: Device
    num_layers: int
    weight_bytes: int
    kv_bytes: int
    scratch_bytes: int
    overhead_bytes: int
    passing_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.kv_bytes + self.scratch_bytes + self.overhead_bytes

    @property
    def room_bytes(self) -> int:
        """What is left beside the reserve; below zero it does not fit."""
        return self.device.free_bytes - self.device.reserve_bytes - self.total_bytes - self.passing_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """Shares of the devices that are used, GPUs first.

    Attributes:
        gpu_layers: how many layers are computed on GPUs, and output_on_gpu: whether the logits are.
    """

    needs: Needs
    load: Load
    shares: tuple[Share, ...]
    gpu_layers: int
    output_on_gpu: bool

    @property
    def fits(self) -> bool:
        return all(share.room_bytes >= 0 for share in self.shares)

    @property
    def total_bytes(self) -> int:
        return sum(share.total_bytes for share in self.shares)

    @property
    def missing_bytes(self) -> int:
        return sum(max(0, -share.room_bytes) for share in self.shares)

    @property
    def host_loaded_bytes(self) -> int:
        """What the process holds of main memory when loading has ended: an engine on the CPU touches its cache and its
        buffers only in use, libllama clears cache and logits at once."""
        share = self.shares[-1]
        loaded = share.weight_bytes + share.overhead_bytes
        if self.needs.engine != "llama":
            return loaded
        return loaded + share.kv_bytes + (0 if self.output_on_gpu else self.needs.logits_bytes)

    @property
    def gpu_loaded_bytes(self) -> int:
        """The same, of all GPUs: there everything but what steps are worked out in is taken at once."""
        on_gpus = [share for share in self.shares if share.device.is_gpu]
        return sum(share.weight_bytes + share.kv_bytes + share.overhead_bytes for share in on_gpus)


def without(machine: Machine, plan: Plan) -> Machine:
    """`machine` as it will be when the model that was loaded by `plan` has gone: what it surely holds is free then."""
    held = {s.device.name: s.weight_bytes + s.kv_bytes + s.overhead_bytes for s in plan.shares if s.device.is_gpu}
    gpus = tuple(
        replace(gpu, free_bytes=min(gpu.total_bytes, gpu.free_bytes + held.get(_name(gpu), 0))) for gpu in machine.gpus
    )
    available = min(machine.total_bytes, machine.available_bytes + plan.host_loaded_bytes)
    return replace(machine, available_bytes=available, gpus=gpus)


def beside(machine: Machine, plan: Plan) -> Machine:
    """`machine` as it will be for another model when that of `plan` has been loaded and works."""
    taken: dict[str, int] = {}
    for share in plan.shares:
        taken[share.device.name] = taken.get(share.device.name, 0) + share.total_bytes
    gpus = tuple(replace(gpu, free_bytes=max(0, gpu.free_bytes - taken.get(_name(gpu), 0))) for gpu in machine.gpus)
    in_memory = sum(share.total_bytes for share in plan.shares if not share.device.is_gpu)
    return replace(machine, available_bytes=max(0, machine.available_bytes - in_memory), gpus=gpus)


def place(needs: Needs, load: Load, devices: Devices, cut: Cut = Cut()) -> Plan:
    """Divide as the engine does it, on as few GPUs as will do.

    Native fills one GPU after another, in their order. libllama is told to take the roomiest, evenly filled, and leaves in
    main memory what is too much.
    """
    on_gpu = needs.engine in ("cuda", "llama") and devices.gpus
    if not on_gpu or (needs.engine == "llama" and cut.gpu_layers == 0):
        return _Division(needs, load, devices, ()).plan(())
    num_layers = len(needs.layer_bytes)
    divisions = [_Division(needs, load, devices, used, cut.split) for used in _subsets(needs.engine, devices.gpus, cut.split)]
    if needs.engine == "llama" and cut.gpu_layers is not None and 0 < cut.gpu_layers < num_layers:
        return _first_fitting(divisions, cut.gpu_layers)
    plan = _first_fitting(divisions, num_layers)
    if needs.engine == "cuda" or plan.fits or cut.gpu_layers is not None:
        return plan
    return _as_many_as_fit(divisions[-1], num_layers)


def _first_fitting(divisions: Sequence[_Division], num_layers: int) -> Plan:
    plans = (division.plan(division.counts(num_layers)) for division in divisions)
    plan = next(plans)
    for other in plans:
        if plan.fits:
            break
        plan = other
    return plan


def _as_many_as_fit(division: _Division, num_layers: int) -> Plan:
    """The most layers that the GPUs have room for, main memory or not."""
    low, high = 0, num_layers
    while low < high:
        middle = (low + high + 1) // 2
        plan = division.plan(division.counts(middle))
        if all(share.room_bytes >= 0 for share in plan.shares if share.device.is_gpu):
            low = middle
        else:
            high = middle - 1
    return (
        division.plan(division.counts(low)) if low else _Division(division.needs, division.load, division.devices, ()).plan(())
    )


def _subsets(engine: EngineName, gpus: tuple[Device, ...], split: tuple[float, ...]) -> list[tuple[int, ...]]:
    """Which GPUs to try, in turn: one, two, … of them; with a split, exactly those it names."""
    if any(share > 0 for share in split[: len(gpus)]):
        return [tuple(i for i, share in enumerate(split[: len(gpus)]) if share > 0)]
    order = sorted(range(len(gpus)), key=lambda i: -gpus[i].free_bytes if engine == "llama" else i)
    return [tuple(sorted(order[:count])) for count in range(1, len(gpus) + 1)]


@dataclass(frozen=True, slots=True)
class _Division:
    """One way of dividing: layers over the GPUs numbered in `used`, and the rest in main memory."""

    needs: Needs
    load: Load
    devices: Devices
    used: tuple[int, ...]
    split: tuple[float, ...] = ()

    def counts(self, num_layers: int) -> tuple[int, ...]:
        """How many of `num_layers` each GPU gets."""
        if self.split and self.needs.engine == "llama":
            return _by_shares([self.split[i] for i in self.used], num_layers)
        largest = max(self.needs.layer_bytes)
        rooms = [self._room(place, num_layers == len(self.needs.layer_bytes)) for place in range(len(self.used))]
        if self.needs.engine == "cuda":  # always all layers, of which those with a window may keep much less than the others
            return _one_after_another(rooms, [largest + kv_bytes for kv_bytes in self.needs.layer_kv_bytes])
        per_layer = largest + max(self.needs.layer_kv_bytes)
        counts = [0] * len(rooms)
        for _ in range(num_layers):
            best = max(range(len(rooms)), key=rooms.__getitem__)
            counts[best] += 1
            rooms[best] -= per_layer
        return tuple(counts)

    def _room(self, place: int, whole: bool) -> int:
        """What the GPU that is number `place` of those used has for layers."""
        device, (weights, scratch, overhead) = self.devices.gpus[self.used[place]], self._fixed(place, whole)
        if self.split:
            return int(self.split[self.used[place]] * GIB) - weights
        shared = self.needs.host_bytes if place == 0 and self.devices.ram is None else 0
        return device.free_bytes - device.reserve_bytes - weights - scratch - overhead - shared

    def _fixed(self, place: int, whole: bool) -> tuple[int, int, int]:
        """Weights, scratch and overhead there without its layers."""
        needs = self.needs
        weights = needs.embedding_bytes if place == 0 and needs.engine == "cuda" else 0
        scratch = needs.scratch_bytes
        if place == len(self.used) - 1 and whole:
            weights, scratch = weights + needs.output_bytes, scratch + needs.logits_bytes
        return weights, scratch, needs.gpu_bytes

    def plan(self, counts: tuple[int, ...]) -> Plan:
        """The shares, when the GPUs in use get so many layers each; the first layers stay in main memory."""
        needs = self.needs
        num_left = len(needs.layer_bytes) - sum(counts)
        shares, first = [], num_left
        for place, (i, count) in enumerate(zip(self.used, counts, strict=True)):
            weights, scratch, overhead = self._fixed(place, not num_left)
            weights += sum(needs.layer_bytes[first : first + count])
            kv_bytes = sum(needs.layer_kv_bytes[first : first + count])
            shares.append(Share(self.devices.gpus[i], count, weights, kv_bytes, scratch, overhead))
            first += count
        output_on_gpu = bool(shares) and not num_left
        host = self._host(num_left, output_on_gpu)
        if shares and self.devices.ram is None:
            shares[0] = _merged(shares[0], host)
        else:
            shares.append(host)
        return Plan(needs, self.load, tuple(shares), sum(counts), output_on_gpu)

    def _host(self, num_left: int, output_on_gpu: bool) -> Share:
        needs = self.needs
        weights = sum(needs.layer_bytes[:num_left])
        weights += 0 if output_on_gpu and needs.engine == "cuda" else needs.embedding_bytes
        weights += 0 if output_on_gpu else needs.output_bytes
        scratch = (0 if output_on_gpu else needs.logits_bytes) + (needs.scratch_bytes if num_left else 0)
        device = self.devices.ram or self.devices.gpus[0]
        kv_bytes = sum(needs.layer_kv_bytes[:num_left])
        passing = max(0, needs.loading_bytes - kv_bytes - scratch)  # these are not touched before the first step
        return Share(device, num_left, weights, kv_bytes, scratch, needs.host_bytes, passing)


def _merged(a: Share, b: Share) -> Share:
    """Two shares of the same memory."""
    return Share(
        a.device,
        a.num_layers + b.num_layers,
        a.weight_bytes + b.weight_bytes,
        a.kv_bytes + b.kv_bytes,
        a.scratch_bytes + b.scratch_bytes,
        a.overhead_bytes + b.overhead_bytes,
        a.passing_bytes + b.passing_bytes,
    )


def _one_after_another(rooms: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """How many layers of such `sizes` each takes, in their order; what nobody has room for goes to the last."""
    counts, current, room = [0] * len(rooms), 0, rooms[0]
    for size in sizes:
        while size > room and current + 1 < len(rooms):
            current += 1
            room = rooms[current]
        counts[current] += 1
        room -= size
    return tuple(counts)


def _by_shares(shares: Sequence[float], num_layers: int) -> tuple[int, ...]:
    """Whole numbers in proportion to `shares` that add up to `num_layers`."""
    total, done, counts, seen = sum(shares), 0, [], 0.0
    for share in shares:
        seen += share
        upto = round(num_layers * seen / total)
        counts.append(upto - done)
        done = upto
    return tuple(counts)
