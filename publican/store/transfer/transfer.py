"""`transfer`: brings files here, over several connections at once, and gives each its name once its hash is right.

Runs on the event loop it is called on, and uses threads for the disk. Cancelling it (Ctrl-C under `asyncio.run`) loses
nothing: what is here is in the journal, and the next call with the same items goes on from there.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from publican.core.errors import ModelFileError, PublicanError
from publican.store.http.session import Session
from publican.store.http.stated_hash import sha256_in_tag
from publican.store.transfer.events import FileDone, Progress, Watch
from publican.store.transfer.fetch import Fetcher
from publican.store.transfer.hashing import Digest
from publican.store.transfer.pace import Limiter, Meter
from publican.store.transfer.settle import settle
from publican.store.transfer.task import FileTask, Item

_SHORTEST_RUN, _LONGEST_RUN = 4, 64
_SYNC_S = 5.0
_PROGRESS_S = 0.2
_ROOM = 1.05


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole file under its temporary name, ready to be moved to where it belongs.

    Attributes:
        crcs: the CRC-32 of each of its pieces; empty where the file was whole before this transfer began.
        digest: what it was held to; where there was nothing, its SHA-256, or None where it was whole before.
    """

    item: Item
    path: Path
    crcs: tuple[int, ...]
    digest: Digest | None


async def transfer(items: Sequence[Item], folder: Path, session: Session, watch: Watch) -> list[Fetched]:
    """Fetch `items` into `folder`, in order, and return them in the same order.

    Raises:
        ModelFileError: one of them cannot be had, the disk has no room, or another process is at it.
    """
    done = {item.key: Fetched(item, folder / item.key, (), item.digest) for item in items if _is_whole(item, folder)}
    wanted = {item.key: item for item in items if item.key not in done}
    tasks: list[FileTask] = []
    try:
        for item in wanted.values():
            tasks.append(await asyncio.to_thread(FileTask, item, folder))
        await asyncio.to_thread(_check_room, tasks, folder)
        for fetched in await _Transfer(tasks, session, watch, sum(item.num_bytes for item in items)).run():
            done[fetched.item.key] = fetched
    finally:
        for task in tasks:
            await task.aclose()
    return [done[item.key] for item in items]


def _is_whole(item: Item, folder: Path) -> bool:
    """Whether an earlier transfer has finished with it. Only a file whose hash was right ever got this name."""
    path = folder / item.key
    return path.is_file() and path.stat().st_size == item.num_bytes


def _check_room(tasks: Sequence[FileTask], folder: Path) -> None:
    missing = sum(task.item.num_bytes - task.pieces.here_bytes for task in tasks)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if missing * _ROOM > free:
        raise ModelFileError(
            f"{folder.parent} has {free / 1e9:,.1f} GB free and {missing * _ROOM / 1e9:,.1f} GB are needed "
            f"({missing / 1e9:,.1f} GB to fetch and 5% to spare); make room or choose a smaller file."
        )


class _Transfer:
    """One call of `transfer`."""

    def __init__(self, tasks: Sequence[FileTask], session: Session, watch: Watch, total_bytes: int) -> None:
        self._tasks = tasks
        self._session = session
        self._watch = watch
        self._total_bytes = total_bytes
        self._before_bytes = total_bytes - sum(task.item.num_bytes for task in tasks)
        self._meter = Meter()
        self._fetcher = Fetcher(Limiter(session.network.max_bytes_per_s), self._meter)
        self._unsettled = list(tasks)
        self._done: list[Fetched] = []

    async def run(self) -> list[Fetched]:
        tickers: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tickers = [group.create_task(self._sync()), group.create_task(self._report())]
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self._session.network.num_connections):
                        workers.create_task(self._work())
                for ticker in tickers:
                    ticker.cancel()
        except BaseExceptionGroup as several:
            raise _first(several) from None
        self._watch(self._progress())
        return self._done

    async def _work(self) -> None:
        """Settle what is complete, else fetch what is missing, until there is neither."""
        while True:
            task = next((task for task in self._unsettled if task.pieces.complete), None)
            if task is not None:
                self._unsettled.remove(task)
                await self._settle(task)
                continue
            task = next((t for t in self._unsettled if t.pieces.num_missing and t.whole_by is None), None)
            if task is None:
                return
            await self._fetch(task)

    async def _fetch(self, task: FileTask) -> None:
        connections = self._session.network.num_connections
        share = sum(t.pieces.num_missing for t in self._unsettled) // (2 * connections)
        at_most = max(_SHORTEST_RUN, min(_LONGEST_RUN, share))
        if not task.item.remote.knows_ranges:
            at_most = task.pieces.layout.num_pieces
        await self._fetcher.fetch(task, task.pieces.take(at_most), self._session.patience(task.item.name))

    async def _settle(self, task: FileTask) -> None:
        digest = task.item.digest or Digest("sha256", await task.digest())  # before it is closed
        await settle(task, self._refetch, self._watch)
        self._done.append(Fetched(task.item, task.part.path, tuple(task.crcs()), digest))
        is_verified = task.item.digest is not None or sha256_in_tag(task.item.remote.etag or "") == digest.hex
        self._watch(FileDone(task.item.name, task.item.num_bytes, is_verified))

    async def _refetch(self, task: FileTask) -> None:
        async def work() -> None:
            while task.pieces.num_missing and task.whole_by is None:
                await self._fetch(task)

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self._session.network.num_connections, task.pieces.num_missing)):
                workers.create_task(work())

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_S)
            for task in self._tasks:
                await asyncio.to_thread(task.part.sync)

    async def _report(self) -> None:
        while True:
            self._watch(self._progress())
            await asyncio.sleep(_PROGRESS_S)

    def _progress(self) -> Progress:
        here = self._before_bytes + sum(task.pieces.here_bytes for task in self._tasks)
        rate = self._meter.bytes_per_s(asyncio.get_running_loop().time())
        left = self._total_bytes - here
        front = self._unsettled[0].item.name if self._unsettled else ""
        eta_s = left / rate if rate > 0 else None
        return Progress(here, self._total_bytes, rate, eta_s, len(self._done), len(self._tasks), front)


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that began it: ours before anything else."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [several]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack.extend(error.exceptions)
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, PublicanError)), flat[-1])
