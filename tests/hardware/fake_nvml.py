"""NVIDIA's management library without NVIDIA: the functions of `pynvml` that are called, over cards made up by a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

from publican.hardware.sizes import GIB


@dataclass
class Card:
    """`processes` are pids and what they hold; None is what a driver says that does not tell."""

    name: str | bytes = "NVIDIA GeForce RTX 3090"
    total: int | None = 24 * GIB
    free: int = 23 * GIB
    uuid: str = "GPU-0"
    processes: dict[int, int | None] = field(default_factory=dict)
    drawing: dict[int, int | None] = field(default_factory=dict)
    slices: list[Card] | None = None


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, *cards: Card, driver: bool = True) -> None:
        self.cards, self.driver, self.depth = cards, driver, 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise self.NVMLError("NVML Shared Library Not Found")
        self.depth += 1

    def nvmlShutdown(self) -> None:
        self.depth -= 1

    def nvmlDeviceGetCount(self) -> int:
        assert self.depth == 1
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        return self.cards[index]

    def nvmlDeviceGetMigMode(self, card: Card) -> tuple[int, int]:
        if card.slices is None:
            raise self.NVMLError("Not Supported")
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, card: Card) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, index: int) -> Card:
        if index >= len(card.slices):
            raise self.NVMLError("Not Found")
        return card.slices[index]

    def nvmlDeviceGetName(self, card: Card) -> str | bytes:
        return card.name

    def nvmlDeviceGetUUID(self, card: Card) -> str:
        return card.uuid

    def nvmlDeviceGetMemoryInfo(self, card: Card) -> SimpleNamespace:
        if card.total is None:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total=card.total, free=card.free, used=card.total - card.free)

    def nvmlDeviceGetComputeRunningProcesses(self, card: Card) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in card.processes.items()]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: Card) -> list[SimpleNamespace]:
        if not card.drawing:
            raise self.NVMLError("Not Supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in card.drawing.items()]
