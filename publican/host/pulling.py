"""A pull as a stream of steps: what `core.backend.Control.pull` promises, over the store's own pull. Event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

from publican.core.backend import PullProgress
from publican.core.errors import Unsupported
from publican.hardware.machine import Machine
from publican.host.judge import make_judge
from publican.host.options import LoadOptions
from publican.store.http.network import Network
from publican.store.pull.choose import Choice
from publican.store.pull.pull import Order, Pulled, pull
from publican.store.transfer.events import Event, FileDone, Progress, Repairing, Waiting

_MAX_STEPS = 64
"""That may wait for a reader who is slow; of more the oldest are dropped, for only the newest matter."""

_OURS = 0.8
"""Of main memory, if nothing of ours were loaded."""
_LATEST = ":latest"
"""What Ollama's clients write behind a name that has no tag."""


class Puller:
    """Downloads models for whoever asks over the network: models of the hub, and the default model, and nothing else.

    One at a time, so that nobody fills the disk by asking for many things at once. What was begun and broken off goes on
    from there when it is asked for again.

    Args:
        models: the models folder.
        machine: asked anew for each, for what fits is asked of what is free.
    """

    def __init__(self, models: Path, network: Network, options: LoadOptions, machine: Callable[[], Machine]) -> None:
        self._models = models
        self._network = network
        self._options = options
        self._machine = machine
        self._is_pulling = False

    async def pull(self, source: str) -> AsyncGenerator[PullProgress, None]:
        """See `core.backend.Control`."""
        if self._is_pulling:
            raise Unsupported("Another model is being downloaded; wait until it is here, and ask again.")
        self._is_pulling = True
        steps: asyncio.Queue[PullProgress | None] = asyncio.Queue()
        running = asyncio.create_task(self._run(source, steps))
        running.add_done_callback(lambda task: steps.put_nowait(None))
        try:
            yield PullProgress("looking for it")
            while (step := await steps.get()) is not None:
                yield step
            pulled = running.result()
            yield PullProgress(f"{pulled.path.name} is here")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self._is_pulling = False

    async def _run(self, source: str, steps: asyncio.Queue[PullProgress | None]) -> Pulled:
        def tell(step: PullProgress) -> None:
            while steps.qsize() >= _MAX_STEPS:
                steps.get_nowait()
            steps.put_nowait(step)

        machine = _emptied(await asyncio.to_thread(self._machine))
        judge = make_judge(machine, self._options.context_len, self._options.num_users)
        asked = source.removesuffix(_LATEST)
        named = ":" in asked.removeprefix("hf:")  # who names a quant has decided
        order = Order(asked, self._models, anyway=named, local=False)
        return await pull(
            order, self._network, judge, lambda event: tell(_step(event, source)), lambda choice: tell(_chosen(choice))
        )


def _emptied(machine: Machine) -> Machine:
    """As it will be when the model that is loaded now has gone."""
    gpus = tuple(replace(gpu, free_bytes=max(gpu.free_bytes, gpu.total_bytes - gpu.others_bytes)) for gpu in machine.gpus)
    ram_bytes = max(machine.available_bytes, int(_OURS * machine.total_bytes))
    return replace(machine, available_bytes=ram_bytes, gpus=gpus)


def _chosen(choice: Choice) -> PullProgress:
    candidate = choice.row.candidate
    return PullProgress(f"taking {candidate.label or candidate.snapshot.repo}: {choice.reason}")


def _step(event: Event, source: str) -> PullProgress:
    """All files together are one download, called as it was asked for."""
    match event:
        case Progress():
            rate = f" at {event.bytes_per_s / 1e6:.1f} MB/s" if event.bytes_per_s else ""
            return PullProgress(f"downloading{rate}", source, event.here_bytes, event.total_bytes)
        case Waiting(why, wait_s):
            return PullProgress(f"{why}; trying again in {wait_s:.0f} s")
        case Repairing(name, num_pieces, why):
            return PullProgress(f"{name}: {why}; fetching {num_pieces:,} MiB of it again")
        case FileDone(name, _, verified):
            return PullProgress(f"{name} is {'verified' if verified else 'here; its server gives no hash to hold it to'}")
