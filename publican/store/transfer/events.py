"""What a transfer tells whoever watches it: a terminal, or a page. Plain data, so that it can be sent on as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far all files together are; about five times a second.

    Attributes:
        here_bytes: on this disk, those of earlier tries included.
        bytes_per_s: over the last seconds.
        eta_s: None while there is no rate to tell from.
        name: the file that is in front.
    """

    here_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None
    num_files_done: int
    num_files: int
    name: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request is repeated after a pause."""

    why: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class Repairing:
    """The hash of `name` is wrong, and pieces of it are fetched again: those the disk changed, or one after another."""

    name: str
    num_pieces: int
    why: str


@dataclass(frozen=True, slots=True)
class FileDone:
    """`name` is whole; `verified` is whether there was a hash to hold it to."""

    name: str
    num_bytes: int
    verified: bool


Event = Progress | Waiting | Repairing | FileDone
Watch = Callable[[Event], None]
"""Called on the transfer's event loop; must return at once."""
