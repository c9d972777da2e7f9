"""Holds files on this disk to their hashes, and turns a damaged one back into a half-fetched one, so that only its bad
pieces come again. Blocks on the disk: about a second for each gigabyte.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from publican.core.errors import ModelFileError
from publican.store.manifest import Manifest, ManifestFile
from publican.store.transfer.hashing import Digest, RunningHash
from publican.store.transfer.journal import Journal
from publican.store.transfer.pieces import Layout
from publican.store.transfer.task import Item

Progress = Callable[[int], None]
"""Told how many bytes more were read."""


def no_progress(num_bytes: int) -> None:
    """For whoever does not care."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a file that was to be as the manifest says.

    Attributes:
        state: ``unknown`` where nobody has said what it should be.
        num_bad_pieces: megabytes that are not as they came; 0 where that cannot be told.
        hex: the SHA-256 (or git's hash) that it has.
    """

    name: str
    state: Literal["right", "wrong", "missing", "unknown"]
    num_bytes: int
    num_bad_pieces: int = 0
    hex: str = ""


def is_right(path: Path, digest: Digest) -> bool:
    """Whether the file has that hash."""
    return _hash(path, digest.kind)[0] == digest.hex


def sha256_of(path: Path) -> Digest:
    """Raises ModelFileError if it cannot be read."""
    return Digest("sha256", _hash(path, "sha256")[0])


def check_file(path: Path, entry: ManifestFile | None, progress: Progress = no_progress) -> Checked:
    """Read the whole file at `path` and compare it with what the manifest says of it.

    Raises:
        ModelFileError: it cannot be read.
    """
    if not path.is_file():
        return Checked(path.name, "missing", entry.num_bytes if entry else 0)
    found, crcs = _hash(path, entry.digest.kind if entry and entry.digest else "sha256", progress)
    size = path.stat().st_size
    if entry is None or (entry.digest is None and not entry.crcs):
        return Checked(path.name, "unknown", size, hex=found)
    num_bad = sum(a != b for a, b in zip(crcs, entry.crcs, strict=False)) if entry.crcs else 0
    right = found == entry.digest.hex if entry.digest else crcs == entry.crcs
    return Checked(path.name, "right" if right and size == entry.num_bytes else "wrong", size, 0 if right else num_bad, found)


def set_back(path: Path, item: Item, manifest: Manifest | None, staging: Path) -> bool:
    """If a file of the right size is at `path`, let the next transfer of `item` begin with it and fetch only what is wrong.
    Returns whether it was taken from its place.

    Without checksums of the pieces everything counts as here, and the transfer compares until the hash is right.

    Raises:
        ModelFileError: the disk refuses.
    """
    known = manifest.files.get(path.name) if manifest else None
    if not path.is_file() or item.digest is None or path.stat().st_size != item.num_bytes:
        return False
    if known is not None and known.digest != item.digest:
        return False  # a newer version of it, which shares nothing
    part = staging / f"{item.key}.part"
    if part.exists():
        return False
    try:
        staging.mkdir(parents=True, exist_ok=True)
        layout = Layout(item.num_bytes)
        crcs = _hash(path, "sha256")[1]
        good = [(i, crc) for i, crc in enumerate(crcs) if not known or not known.crcs or known.crcs[i : i + 1] == (crc,)]
        with (staging / f"{item.key}.journal").open("w+b") as file:
            journal = Journal.create(file, layout, item.fingerprint)
            path.replace(part)
            journal.record(good)
            journal.barrier()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be moved to be repaired: {error.strerror or error}.") from None
    return True


def put_back(path: Path, item: Item, staging: Path) -> None:
    """After a transfer of `item` that failed: a file that was taken from `path` is there again, as right as it has become."""
    part = staging / f"{item.key}.part"
    with contextlib.suppress(OSError):
        if part.is_file() and not path.exists():
            part.replace(path)
            part.with_suffix(".journal").unlink(missing_ok=True)


def _hash(path: Path, kind: Literal["sha256", "git-sha1"], progress: Progress = no_progress) -> tuple[str, tuple[int, ...]]:
    """The hash of a file, and the CRC-32 of each of its pieces."""
    crcs: list[int] = []
    try:
        with path.open("rb", buffering=0) as file:
            layout = Layout(os.fstat(file.fileno()).st_size)
            pieces = _pieces(file, layout)

            def read(piece: int) -> bytes:
                data = next(pieces, b"")
                crcs.append(zlib.crc32(data))
                progress(len(data))
                return data

            running = RunningHash(kind, layout)
            running.feed(read, layout.num_pieces)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    return running.hex(), tuple(crcs)


def _pieces(file: BinaryIO, layout: Layout) -> Iterator[bytes]:
    while True:
        data = bytearray()
        while len(data) < layout.piece_bytes and (part := file.read(layout.piece_bytes - len(data))):
            data += part
        if not data:
            return
        yield bytes(data)
