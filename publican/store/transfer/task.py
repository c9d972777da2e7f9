"""`FileTask`: one file of a transfer: what is wanted, what of it is here, and its hash as far as it goes.

Lives on the event loop; whatever blocks is sent to a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

from publican.store.http.remote_file import RemoteFile
from publican.store.transfer.hashing import Digest, RunningHash
from publican.store.transfer.part import PartFile
from publican.store.transfer.pieces import Layout, Pieces

_HASH_AHEAD_PIECES = 32


@dataclass(frozen=True, slots=True)
class Item:
    """A file to fetch.

    Attributes:
        remote: where from.
        name: for people.
        num_bytes, digest: what it must be; a file without a digest can only be held to its size.
        identity: what tells this content from another where there is no digest: the address and its entity tag.
    """

    remote: RemoteFile
    name: str
    num_bytes: int
    digest: Digest | None
    identity: str = ""

    @property
    def fingerprint(self) -> bytes:
        text = f"{self.digest.kind}:{self.digest.hex}" if self.digest else f"url:{self.identity}"
        return hashlib.sha256(f"{text}:{self.num_bytes}".encode("utf-8", "surrogateescape")).digest()

    @property
    def key(self) -> str:
        """The file's name while it is fetched: by content, so that it is not fetched twice however it is called."""
        return self.fingerprint.hex()


class FileTask:
    """Opened on construction (blocks); `close` it."""

    def __init__(self, item: Item, folder: Path) -> None:
        layout = Layout(item.num_bytes)
        self.item = item
        self.part = PartFile.open(folder / item.key, layout, item.fingerprint)
        self.pieces = Pieces(layout)
        for piece in self.part.crcs:
            self.pieces.arrived(piece)
        self.hash = RunningHash(item.digest.kind if item.digest else "sha256", layout)
        self.suspects: set[int] = set()
        self.changed: set[int] = set()
        self.whole_by: object | None = None
        self._hashing: asyncio.Task[None] | None = None
        self._closed = False

    async def store(self, piece: int, data: bytes) -> None:
        """A piece has come. `changed` remembers it if it differs from one that was hashed already."""
        if await asyncio.to_thread(self.part.write, piece, data) and piece < self.hash.at:
            self.changed.add(piece)
        self.pieces.arrived(piece)
        idle = self._hashing is None or self._hashing.done()
        if idle and self.pieces.prefix(self.hash.at) - self.hash.at >= _HASH_AHEAD_PIECES:
            self._hashing = asyncio.create_task(self._hash_to(self.pieces.prefix(self.hash.at)))

    async def digest(self) -> str:
        """The hash of the whole file, all of which is here."""
        if self._hashing is not None:
            await self._hashing
        if self.changed:
            self.hash.rewind(min(self.changed))
            self.changed.clear()
        await self._hash_to(self.pieces.layout.num_pieces)
        return self.hash.hex()

    def crcs(self) -> list[int]:
        return [self.part.crcs[piece] for piece in range(self.pieces.layout.num_pieces)]

    async def aclose(self) -> None:
        self._closed = True
        if self._hashing is not None:
            await asyncio.gather(self._hashing, return_exceptions=True)
        self.part.close()

    def _is_closed(self) -> bool:
        return self._closed

    async def _hash_to(self, end: int) -> None:
        await asyncio.to_thread(self.hash.feed, self.part.read, end, self._is_closed)
