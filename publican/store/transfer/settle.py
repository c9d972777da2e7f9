"""Holds a file whose pieces are all here to its hash, and finds what is wrong where it does not match.

The hub gives one hash for the whole file, so a wrong hash does not say where. Where to look first:

1. The disk. Every piece has a checksum of the bytes that came in; those that read otherwise now are fetched again.
2. The wire. Pieces are fetched a second time and compared: first those at which a connection broke, then all from the
   beginning, in windows that double. As soon as one differs the file is hashed again (from there on only) and, if it is
   right now, no more is fetched. At worst everything comes twice; on the average a single bad piece costs half of that.

If it is still wrong the server's bytes are not what the hub says they are, and nothing is kept. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from publican.core.errors import ModelFileError
from publican.store.transfer.events import Repairing, Watch
from publican.store.transfer.task import FileTask

_FIRST_WINDOW_PIECES = 8

Refetch = Callable[[FileTask], Awaitable[None]]
"""Brings the missing pieces of a file."""


async def settle(task: FileTask, refetch: Refetch, watch: Watch) -> None:
    """Return when the file is what it should be, and has its name.

    Raises:
        ModelFileError: it is not, whatever was tried; nothing of it is kept.
    """
    item = task.item
    if item.digest is not None and await task.digest() != item.digest.hex and not await _repaired(task, refetch, watch):
        await asyncio.to_thread(task.part.discard)
        raise ModelFileError(
            f"{item.name} does not have the {item.digest.kind} that it should have, fetched twice; its server is not to be "
            "trusted with it, so try another (HF_ENDPOINT) or try later."
        )
    await asyncio.to_thread(task.part.finish)


async def _repaired(task: FileTask, refetch: Refetch, watch: Watch) -> bool:
    num_pieces = task.pieces.layout.num_pieces
    if bad := await asyncio.to_thread(task.part.damaged, range(num_pieces)):
        watch(Repairing(task.item.name, len(bad), "the disk gives other bytes than were written"))
        if await _fetch_again(task, bad, refetch):
            return True
    for window in _windows(sorted(task.suspects), num_pieces):
        watch(Repairing(task.item.name, len(window), "its hash is wrong, and these pieces are compared"))
        if await _fetch_again(task, window, refetch):
            return True
    return False


async def _fetch_again(task: FileTask, pieces: Sequence[int], refetch: Refetch) -> bool:
    """Whether the file is right now."""
    task.item.remote.forget_link()
    for piece in pieces:
        task.pieces.miss(piece)
    await refetch(task)
    assert task.item.digest is not None
    return bool(task.changed) and await task.digest() == task.item.digest.hex


def _windows(first: Sequence[int], num_pieces: int) -> Iterator[Sequence[int]]:
    """Every piece once: those of `first`, then the others in growing windows."""
    if first:
        yield first
    rest = sorted(set(range(num_pieces)) - set(first))
    start, length = 0, _FIRST_WINDOW_PIECES
    while start < len(rest):
        yield rest[start : start + length]
        start, length = start + length, 2 * length
