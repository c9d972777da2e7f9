"""Cores and memory of this machine, as far as this process may use them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Machine:
    """Attributes:
    num_cores: physical cores that this process may run on; compute threads beyond them only get in each other's way.
    total_bytes: memory in all; `available_bytes`: what could be taken now without swapping.
    """

    num_cores: int
    total_bytes: int
    available_bytes: int


def read_machine(cgroup: Path = _CGROUP) -> Machine:
    """This machine, or the share of it that a container leaves (cgroup v2)."""
    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    limit = _number(cgroup / "memory.max")
    if limit is not None and limit < total:
        used = _number(cgroup / "memory.current") or 0
        total, available = limit, min(available, max(0, limit - used))
    return Machine(_num_cores(cgroup), total, available)


def _num_cores(cgroup: Path) -> int:
    logical = os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    cores = min(physical, allowed)
    quota = _quota(cgroup / "cpu.max")
    return max(1, min(cores, quota) if quota else cores)


def _quota(path: Path) -> int | None:
    """Whole cores that the container may use: "200000 100000" is two."""
    try:
        quota, period = path.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
