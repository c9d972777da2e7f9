"""Made-up machines and published shapes, for tests of the planner."""

from __future__ import annotations

from publican.core.cache_types import EngineName
from publican.hardware.machine import described_machine
from publican.hardware.plan import Cut, Devices
from publican.hardware.planner import Planner
from publican.hardware.shapes import SHAPES
from publican.hardware.sizes import GIB
from publican.hardware.weights import described


def machine(*gpu_gib: float, ram_gib: float = 64) -> Devices:
    return Devices.of(described_machine(tuple(int(size * GIB) for size in gpu_gib), int(ram_gib * GIB), 8))


def planner(name: str, engine: EngineName, devices: Devices, bits: float = 4, cut: Cut | None = None) -> Planner:
    spec = SHAPES[name]
    return Planner(engine, spec, described(spec, bits), devices, cut or Cut())
