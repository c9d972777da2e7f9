"""The hash of a file that is still arriving, taken along from its beginning and rewound where a piece was put right.

So verifying 40 GB costs a moment at the end instead of minutes, and a repair hashes again from the repaired piece only.
Blocks; run on a thread, one call at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from publican.store.transfer.pieces import Layout

_PIECES_PER_SNAPSHOT = 64


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file's hash must be. `git-sha1` is git's own of a blob, which the hub has for files outside LFS."""

    kind: Literal["sha256", "git-sha1"]
    hex: str


class RunningHash:
    """The hash of the first `at` pieces of a file of known size."""

    def __init__(self, kind: Literal["sha256", "git-sha1"], layout: Layout) -> None:
        self.at = 0
        self._layout = layout
        self._hash = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
        if kind == "git-sha1":
            self._hash.update(f"blob {layout.num_bytes}\0".encode())
        self._snapshots = [(0, self._hash.copy())]

    def feed(self, read: Callable[[int], bytes], end: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Go on to before piece `end`, or until `stop`."""
        while self.at < end and not stop():
            self._hash.update(read(self.at))
            self.at += 1
            if self.at % _PIECES_PER_SNAPSHOT == 0:
                self._snapshots.append((self.at, self._hash.copy()))

    def rewind(self, piece: int) -> None:
        """`piece` has changed: forget everything from it on."""
        if piece < self.at:
            while self._snapshots[-1][0] > piece:
                self._snapshots.pop()
            self.at, snapshot = self._snapshots[-1]
            self._hash = snapshot.copy()

    def hex(self) -> str:
        return self._hash.hexdigest()
