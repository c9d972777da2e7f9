"""Which pieces of a file are here, taken or missing. Bookkeeping only: no disk, no network.

Owned by the event loop of a transfer. A *run* is pieces that follow one another, fetched with one request.
"""

from __future__ import annotations

from dataclasses import dataclass

PIECE_BYTES = 1 << 20
"""So much is lost, per connection, when the power goes; and so much is fetched again where a byte is wrong."""

_MISSING, _TAKEN, _HERE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file of `num_bytes` is cut. The last piece may be short; an empty file has none."""

    num_bytes: int
    piece_bytes: int = PIECE_BYTES

    @property
    def num_pieces(self) -> int:
        return -(-self.num_bytes // self.piece_bytes)

    def start(self, piece: int) -> int:
        return piece * self.piece_bytes

    def end(self, piece: int) -> int:
        return min(self.num_bytes, (piece + 1) * self.piece_bytes)

    def size(self, piece: int) -> int:
        return self.end(piece) - self.start(piece)


class Pieces:
    """The state of every piece."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._state = bytearray(layout.num_pieces)
        self._first_missing = 0
        self.num_missing = layout.num_pieces
        self.num_here = 0
        self.here_bytes = 0

    @property
    def complete(self) -> bool:
        return self.num_here == self.layout.num_pieces

    def is_here(self, piece: int) -> bool:
        return self._state[piece] == _HERE

    def prefix(self, start: int) -> int:
        """The first piece from `start` on that is not here."""
        ends = (self._state.find(state, start) for state in (_MISSING, _TAKEN))
        return min((end for end in ends if end >= 0), default=self.layout.num_pieces)

    def take(self, at_most: int) -> range:
        """The first run of missing pieces, no longer than `at_most`, now taken; empty if none is missing."""
        first = self._state.find(_MISSING, self._first_missing)
        if first < 0:
            return range(0)
        end = first + 1
        while end < len(self._state) and end - first < at_most and self._state[end] == _MISSING:
            end += 1
        self._first_missing = end
        for piece in range(first, end):
            self._set(piece, _TAKEN)
        return range(first, end)

    def arrived(self, piece: int) -> None:
        self._set(piece, _HERE)

    def miss(self, piece: int) -> None:
        """It is to be fetched, whatever it was."""
        self._set(piece, _MISSING)
        self._first_missing = min(self._first_missing, piece)

    def give_back(self, run: range) -> None:
        """What of `run` has not arrived may be taken by others."""
        for piece in run:
            if self._state[piece] == _TAKEN:
                self.miss(piece)

    def _set(self, piece: int, state: int) -> None:
        before, self._state[piece] = self._state[piece], state
        self.num_missing += (state == _MISSING) - (before == _MISSING)
        here = (state == _HERE) - (before == _HERE)
        self.num_here += here
        self.here_bytes += here * self.layout.size(piece)
