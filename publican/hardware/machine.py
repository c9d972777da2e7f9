"""Cores, memory and GPUs of this machine, as far as this process may use them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from publican.hardware.nvml import Gpu, Nvml, load_nvml, read_gpus_in_time
from publican.hardware.sizes import shown

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Machine:
    """Attributes:
    num_cores: physical cores that this process may run on; compute threads beyond them only get in each other's way.
    total_bytes: memory in all; `available_bytes`: what could be taken now without swapping.
    gpus: in the order in which CUDA numbers them here; `gpu_note` says why there are none, or not all.
    """

    num_cores: int
    total_bytes: int
    available_bytes: int
    gpus: tuple[Gpu, ...] = ()
    gpu_note: str = ""

    @property
    def is_unified(self) -> bool:
        """Whether GPU and processor share one memory."""
        return any(gpu.is_unified for gpu in self.gpus)


def read_machine(cgroup: Path = _CGROUP, nvml: Nvml | None = None, visible: str | None = None) -> Machine:
    """This machine, or the share of it that a container leaves (cgroup v2).

    Args:
        nvml: what GPUs are asked for; None asks for none.
        visible: CUDA_VISIBLE_DEVICES; None is all.
    """
    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    limit = _number(cgroup / "memory.max")
    if limit is not None and limit < total:
        total, available = limit, min(available, max(0, limit - _used_bytes(cgroup)))
    gpus = read_gpus_in_time(nvml, (total, available), visible)
    return Machine(_num_cores(cgroup), total, available, gpus.found, gpus.note)


def read_this_machine(visible: str | None = None) -> Machine:
    """`read_machine` with whatever NVML is installed."""
    return read_machine(nvml=load_nvml(), visible=visible)


def described_machine(gpu_bytes: tuple[int, ...], ram_bytes: int, num_cores: int) -> Machine:
    """A machine that is elsewhere, or that somebody thinks of buying: nothing else runs on it."""
    gpus = tuple(Gpu(shown(size), size, size, index=i) for i, size in enumerate(gpu_bytes))
    return Machine(num_cores, ram_bytes, ram_bytes, gpus, "")


def _used_bytes(cgroup: Path) -> int:
    """What a container uses, without the file pages that it would give back at once: a model just read is in there."""
    try:
        stat = dict(line.split(maxsplit=1) for line in (cgroup / "memory.stat").read_text().splitlines() if " " in line)
        reclaimable = int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        reclaimable = 0
    return max(0, (_number(cgroup / "memory.current") or 0) - reclaimable)


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
