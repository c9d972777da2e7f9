"""How many threads a team should have: one for each physical core that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def num_physical_cores(topology: Path = _TOPOLOGY, quota: Path = _QUOTA) -> int:
    """At least 1. Two hardware threads of one core share its vector units, and a team gains nothing from the second."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = {_core(topology, cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota_cores(quota, len(cores))))


def _core(topology: Path, cpu: int) -> str:
    """What the hardware threads of one core have in common."""
    try:
        return (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota_cores(quota: Path, otherwise: int) -> int:
    """What a container may use, in whole cores."""
    try:
        limit, period = quota.read_text().split()
        return otherwise if limit == "max" else max(1, int(limit) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return otherwise
