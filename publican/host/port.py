"""`EnginePort`: an engine, wherever it runs. Used on the event loop only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from publican.core.backend import Progress
from publican.engine.job import Command, Report
from publican.host.frames import Ready
from publican.host.options import WorkerSpec


@dataclass(frozen=True, slots=True)
class PortCallbacks:
    """Called on the event loop.

    Attributes:
        report: what a step gave.
        exited: the engine is gone and nothing more will come; not called for a `close` of ours.
        progress: loading has come this far, of so much.
    """

    report: Callable[[Report], None]
    exited: Callable[[str], None]
    progress: Progress


class EnginePort(Protocol):
    """One run of one engine: started once, closed once."""

    async def start(self, spec: WorkerSpec, callbacks: PortCallbacks) -> Ready:
        """Load the model and begin. Raises what loading raises; then there is nothing to close."""
        ...

    def send(self, command: Command) -> None:
        """Hand over a command; never blocks. What is sent to an engine that is gone is lost."""
        ...

    async def close(self) -> None:
        """End the engine and give back its memory, within a few seconds in any case."""
        ...
