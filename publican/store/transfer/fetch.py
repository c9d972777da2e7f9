"""Fetches runs of pieces over one connection each, through whatever goes wrong on the way.

What a broken connection brought is kept, down to the byte: the next request goes on from there. Runs on the event loop.
"""

from __future__ import annotations

import asyncio

from publican.core.errors import ModelFileError
from publican.store.http.patience import Interrupted, Patience
from publican.store.http.remote_file import Body
from publican.store.transfer.pace import Limiter, Meter
from publican.store.transfer.task import FileTask

_SOMEWHERE_BYTES = 1 << 16
"""A connection that brings less than this before it breaks has got nowhere, or a server could keep us for ever."""


class Fetcher:
    """What all connections of a transfer share."""

    def __init__(self, limiter: Limiter, meter: Meter) -> None:
        self._limiter = limiter
        self._meter = meter

    async def fetch(self, task: FileTask, run: range, patience: Patience) -> None:
        """Bring every piece of `run` here, unless another connection is bringing the whole file.

        Raises:
            ModelFileError: it cannot be done; what is here stays.
        """
        buffer = _Buffer(run)
        try:
            while buffer.skip_what_is_here(task):
                try:
                    if not await self._one_connection(task, buffer, patience):
                        return
                except Interrupted as reason:
                    task.suspects.add(buffer.piece)
                    await patience.pause(reason)
        finally:
            if task.whole_by is buffer:
                task.whole_by = None
            task.pieces.give_back(run)

    async def _one_connection(self, task: FileTask, buffer: _Buffer, patience: Patience) -> bool:
        """As much as one request brings. False: somebody else is bringing the whole file."""
        layout = task.pieces.layout
        start = layout.start(buffer.piece) + len(buffer.data)
        async with task.item.remote.open(start, layout.end(buffer.run[-1])) as body:
            if not body.ranged:
                if task.whole_by not in (None, buffer):
                    return False
                task.whole_by = buffer
                await self._take_whole(task, body, patience)
                return True
            await self._take(task, buffer, body, patience)
        return True

    async def _take(self, task: FileTask, buffer: _Buffer, body: Body, patience: Patience) -> None:
        layout, num_bytes = task.pieces.layout, 0
        async for chunk in body.chunks:
            await self._arrived(len(chunk))
            num_bytes += len(chunk)
            buffer.data += chunk
            if num_bytes >= _SOMEWHERE_BYTES:
                patience.got_somewhere()
            while buffer.piece < buffer.run.stop and len(buffer.data) >= (size := layout.size(buffer.piece)):
                await task.store(buffer.piece, bytes(buffer.data[:size]))
                buffer.next_piece(size)
        if num_bytes == 0:
            raise Interrupted("the server sends nothing")

    async def _take_whole(self, task: FileTask, body: Body, patience: Patience) -> None:
        """The server knows no ranges: read from the beginning, and pass over what is here."""
        layout, data, piece = task.pieces.layout, bytearray(), 0
        async for chunk in body.chunks:
            await self._arrived(len(chunk))
            data += chunk
            while piece < layout.num_pieces and len(data) >= (size := layout.size(piece)):
                if not task.pieces.is_here(piece):
                    await task.store(piece, bytes(data[:size]))
                    patience.got_somewhere()
                del data[:size]
                piece += 1
        if piece < layout.num_pieces:
            raise Interrupted("the server ends before the file does")
        if data:
            raise ModelFileError(f"{task.item.name} is longer at the server than it should be; pull it again.")

    async def _arrived(self, num_bytes: int) -> None:
        self._meter.add(num_bytes, asyncio.get_running_loop().time())
        await self._limiter.took(num_bytes)


class _Buffer:
    """The beginning of the next piece of a run."""

    def __init__(self, run: range) -> None:
        self.run = run
        self.piece = run.start
        self.data = bytearray()

    def next_piece(self, size: int) -> None:
        del self.data[:size]
        self.piece += 1

    def skip_what_is_here(self, task: FileTask) -> bool:
        """Go to the first piece of the run that is still to come; False if there is none."""
        while self.piece < self.run.stop and task.pieces.is_here(self.piece):
            self.piece += 1
            self.data.clear()
        return self.piece < self.run.stop
