"""Bytes as they were planned, beside bytes as a worker holds them when it has loaded its model. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from publican.hardware.sizes import shown
from publican.host.frames import Ready


@dataclass(frozen=True, slots=True)
class Measured:
    """One memory: what was planned of it and what is held, in bytes; `error` is 0.05 for five per cent too much."""

    where: str
    planned_bytes: int
    measured_bytes: int

    @property
    def error(self) -> float:
        """How far what is held lies above the plan, as a part of it."""
        return self.measured_bytes / self.planned_bytes - 1 if self.planned_bytes else 0.0

    def __str__(self) -> str:
        return f"{self.where}: {shown(self.measured_bytes)} held, {shown(self.planned_bytes)} planned ({self.error:+.1%})"


def compare(planned: tuple[int, int], ready: Ready) -> tuple[Measured, ...]:
    """Main memory, and GPUs where something was planned there and the driver tells. `planned`: of both, in this order."""
    host, gpu = planned
    found = [Measured("memory", host, ready.resident_bytes)] if host and ready.resident_bytes else []
    if gpu and ready.gpu_bytes:
        found.append(Measured("GPUs", gpu, ready.gpu_bytes))
    return tuple(found)
