"""GPUs as NVIDIA's management library sees them: how much memory each has, how much is free, and who has the rest.

The binding (`nvidia-ml-py`) is optional and the driver may be missing: then there are no GPUs, and a note says why. Only
reads; blocks for milliseconds, or some seconds where the driver has to wake up. Called on any thread but the event loop's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

Nvml = Any
"""The module `pynvml`, or something with the same functions."""
PATIENCE_S = 60.0
"""With a driver that does not answer: cards that slept may take half a minute to wake up."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics card.

    Attributes:
        free_bytes: what could be taken now.
        others_bytes: what other processes hold, as far as the driver tells (it does not under Windows and in containers).
        index: in the order of the PCI bus, which is CUDA's too where CUDA_DEVICE_ORDER=PCI_BUS_ID.
        is_unified: it has no memory of its own and uses the machine's; the sizes are then the machine's.
    """

    name: str
    total_bytes: int
    free_bytes: int
    others_bytes: int = 0
    index: int = 0
    uuid: str = ""
    is_unified: bool = False


@dataclass(frozen=True, slots=True)
class Gpus:
    """What was found, and where that is nothing or not all, `note` says why in a sentence."""

    found: tuple[Gpu, ...] = ()
    note: str = ""


def load_nvml() -> Nvml | None:
    """The binding, or None where it is not installed."""
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:
        return None
    return pynvml


def read_gpus(nvml: Nvml | None, ram: tuple[int, int], visible: str | None = None) -> Gpus:
    """The GPUs that this process may use.

    Args:
        ram: the machine's memory, in all and available: a unified GPU has that.
        visible: CUDA_VISIBLE_DEVICES: indices or beginnings of UUIDs; None is all. What is found is in that order, which is
            the one that engines number cards in.
    """
    if nvml is None:
        return Gpus(note="NVIDIA GPUs were not looked for: install nvidia-ml-py to have them seen.")
    try:
        with _session(nvml):
            gpus = _visible(list(_all(nvml, ram)), visible)
    except nvml.NVMLError as error:
        return Gpus(note=f"No NVIDIA GPU can be seen ({error}).")
    if not gpus:
        hidden = " that CUDA_VISIBLE_DEVICES leaves visible" if visible is not None else ""
        return Gpus(note=f"There is no NVIDIA GPU{hidden}.")
    slices = [gpu for gpu in gpus if gpu.uuid.startswith("MIG-")]
    if slices:  # a process can use one slice of a divided card, and no other card beside it
        roomiest = max(slices, key=lambda gpu: gpu.free_bytes)
        return Gpus((roomiest,), f"A card is divided (MIG), and one slice is all that a process can use: {roomiest.name}.")
    return Gpus(tuple(gpus))


def read_gpus_in_time(
    nvml: Nvml | None, ram: tuple[int, int], visible: str | None = None, patience_s: float = PATIENCE_S
) -> Gpus:
    """`read_gpus`, but a driver that hangs counts as none: the thread that asked it is then left behind."""
    found: list[Gpus | Exception] = []

    def read() -> None:
        try:
            found.append(read_gpus(nvml, ram, visible))
        except Exception as error:  # noqa: BLE001  # belongs to whoever waits below
            found.append(error)

    thread = threading.Thread(target=read, name="nvml", daemon=True)
    thread.start()
    thread.join(patience_s)
    if not found:
        return Gpus(
            note=f"The NVIDIA driver did not answer in {patience_s:.0f} s, so its GPUs are left alone; restart the machine."
        )
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def free_bytes(nvml: Nvml | None) -> int:
    """What is free of all GPUs together; 0 where there is none, or none that has memory of its own."""
    total = 0
    if nvml is None:
        return total
    try:
        with _session(nvml):
            for index in range(nvml.nvmlDeviceGetCount()):
                total += nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(index)).free
    except nvml.NVMLError:
        return total
    return total


@contextmanager
def _session(nvml: Nvml) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _all(nvml: Nvml, ram: tuple[int, int]) -> Iterator[Gpu]:
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        slices = list(_slices(nvml, handle))
        for each in slices or [handle]:
            yield _gpu(nvml, each, index, ram)


def _slices(nvml: Nvml, handle: Any) -> Iterator[Any]:
    """The parts of a card that is divided (MIG)."""
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if current else 0
    except nvml.NVMLError:
        return
    for i in range(count):
        try:
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, i)
        except nvml.NVMLError:  # a place that is not taken
            continue


def _gpu(nvml: Nvml, handle: Any, index: int, ram: tuple[int, int]) -> Gpu:
    gpu = Gpu(_text(nvml.nvmlDeviceGetName(handle)), *ram, index=index, uuid=_text(nvml.nvmlDeviceGetUUID(handle)))
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:  # "not supported" is what chips without memory of their own say
        return replace(gpu, is_unified=True)
    others = sum(process.usedGpuMemory or 0 for process in _processes(nvml, handle))
    return replace(gpu, total_bytes=memory.total, free_bytes=memory.free, others_bytes=others)


def _processes(nvml: Nvml, handle: Any) -> list[Any]:
    """Whoever holds memory of a card, each once: a process that draws and computes is in both lists."""
    found: dict[int, Any] = {}
    for name in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
        try:
            found.update((process.pid, process) for process in getattr(nvml, name)(handle))
        except nvml.NVMLError:
            continue
    return list(found.values())


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def _visible(gpus: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """As CUDA reads CUDA_VISIBLE_DEVICES: in the order of the names, and nothing from the first on that names no card."""
    if visible is None:
        return list(gpus)
    seen: list[Gpu] = []
    for name in (part.strip() for part in visible.split(",") if part.strip()):
        named = [gpu for gpu in gpus if name == str(gpu.index) or (not name.isdigit() and gpu.uuid.startswith(name))]
        if not named or named[0] in seen:
            break
        seen += named
    return seen
