"""Brings the files of a chosen model into the models folder: what is not there yet, and what is there and wrong.

    models/.pulling/<hash>.part, .journal    on their way; any later pull of the same content goes on from there
    models/org/repo[@branch]/                the model, with `publican-manifest.json`

A folder model gets its `config.json` last, so that it is listed only when it is whole. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from publican.core.errors import ModelFileError
from publican.store.http.remote_file import RemoteFile
from publican.store.http.session import Session
from publican.store.hub.names import safe_part, safe_paths
from publican.store.manifest import Manifest, ManifestFile, read_manifest, write_manifest
from publican.store.pull.candidates import Candidate
from publican.store.pull.check import is_right, put_back, set_back, sha256_of
from publican.store.transfer.events import Watch
from publican.store.transfer.journal import sync_folder
from publican.store.transfer.task import Item
from publican.store.transfer.transfer import Fetched, transfer

STAGING = ".pulling"
_COPY_BYTES = 1 << 20
_COMMIT_LEN, _SHOWN_LEN = 40, 12


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file and its name in the folder of the model."""

    name: str
    remote: RemoteFile
    entry: ManifestFile

    @property
    def item(self) -> Item:
        identity = f"{self.remote.url} {self.entry.commit} {self.remote.etag or ''}"
        return Item(self.remote, self.remote.what, self.entry.num_bytes, self.entry.digest, identity)


@dataclass(frozen=True, slots=True)
class Brought:
    """`num_fetched_bytes` is 0 where everything was here."""

    folder: Path
    names: tuple[str, ...]
    num_fetched_bytes: int


def folder_of(candidate: Candidate, models: Path) -> Path:
    """Where a candidate belongs: ``org/repo``, or ``org/repo@branch``; an @ is in no repository's name."""
    owner, _, name = candidate.snapshot.repo.rpartition("/")
    revision = candidate.snapshot.revision
    mark = "" if revision == "main" else revision
    if len(mark) == _COMMIT_LEN and mark == candidate.snapshot.commit:
        mark = mark[:_SHOWN_LEN]
    if candidate.container == "safetensors" and not mark:
        mark = candidate.label
    name = safe_part(name) + (f"@{safe_part(mark)}" if mark else "")
    return models / safe_part(owner) / name


async def bring(
    wanted: Sequence[Wanted],
    folder: Path,
    models: Path,
    about: Manifest,
    session: Session,
    watch: Watch,
    distrust: bool = False,
) -> Brought:
    """Make `folder` have `wanted`, in that order.

    Args:
        about: whose repository, licence and so on go into the manifest; its files do not.
        distrust: hash what is here, even if the manifest says that it was right once.

    Raises:
        ModelFileError: a file cannot be had, or the disk refuses.
    """
    safe_paths(one.name for one in wanted)
    staging = models / STAGING
    manifest = await asyncio.to_thread(read_manifest, folder)
    if manifest is not None and manifest.repo != about.repo:
        raise ModelFileError(f"{folder} holds files of {manifest.repo or 'another source'}; move them away and pull again.")
    _check_origins(wanted, manifest)
    missing = [one for one in wanted if not await asyncio.to_thread(_is_here, one, folder, manifest, distrust)]
    taken = [one for one in missing if await asyncio.to_thread(set_back, folder / one.name, one.item, manifest, staging)]
    by_size = sorted(missing, key=lambda one: one.entry.num_bytes)  # what is wrong with a small one is known at once
    try:
        fetched = await transfer([one.item for one in by_size], staging, session, watch) if missing else []
    except BaseException:  # whatever stops it: a model that was here stays, with what is wrong in it
        for one in taken:
            put_back(folder / one.name, one.item, staging)
        raise
    by_name = {one.name: done for one, done in zip(by_size, fetched, strict=True)}
    await asyncio.to_thread(_place, wanted, by_name, folder, manifest or about, about)
    with contextlib.suppress(OSError):  # other downloads wait in there
        staging.rmdir()
    return Brought(folder, tuple(one.name for one in wanted), sum(one.entry.num_bytes for one in missing))


def _check_origins(wanted: Sequence[Wanted], manifest: Manifest | None) -> None:
    """Two models of one repository may have one file name, in different folders of it; one must not take the other's place."""
    for one in wanted:
        known = manifest.files.get(one.name) if manifest else None
        if known is not None and one.name.lower().endswith(".gguf") and known.origin != one.entry.origin:
            raise ModelFileError(f"{one.name} is here already as {known.origin}; delete or rename that one, and pull again.")


def _is_here(one: Wanted, folder: Path, manifest: Manifest | None, distrust: bool) -> bool:
    """Whether the right file is in its place. What nobody vouches for is hashed, which takes a second per gigabyte."""
    path = folder / one.name
    if not path.is_file() or path.stat().st_size != one.entry.num_bytes:
        return False
    known = manifest.files.get(one.name) if manifest else None
    expected = one.entry.digest
    if expected is None and known is not None and (known.origin, known.commit) == (one.entry.origin, one.entry.commit):
        if known.digest is None:
            return not distrust
        expected = known.digest  # the server states none: it is to be as it came
    if known is not None and expected is not None and known.digest == expected and not distrust:
        return True
    return expected is not None and is_right(path, expected)


def _place(wanted: Sequence[Wanted], fetched: dict[str, Fetched], folder: Path, before: Manifest, about: Manifest) -> None:
    """Move what came to where it belongs, each in one step, then say so in the manifest."""
    entries = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in wanted:
            done = fetched.get(one.name)
            known = before.files.get(one.name)
            if done is not None:
                _move(done.path, folder / one.name)
            entries[one.name] = _entry(one.entry, folder / one.name, done, known)
        sync_folder(folder)
    except OSError as error:
        raise ModelFileError(f"{folder} cannot be written to: {error.strerror or error}.") from None
    kept = Manifest(about.repo, about.endpoint, about.licence, about.base_models, before.files).with_files(entries)
    write_manifest(folder, kept)


def _entry(wanted: ManifestFile, path: Path, done: Fetched | None, known: ManifestFile | None) -> ManifestFile:
    """What the manifest says of a file that is in its place. One whose hash nobody knew is held from now on to what it is."""
    if done is None:
        digest = wanted.digest or (known.digest if known is not None else None)
        return replace(wanted, digest=digest, crcs=known.crcs if known is not None and known.digest == digest else ())
    if done.digest is None:
        return replace(wanted, digest=sha256_of(path), crcs=())
    return replace(wanted, digest=done.digest, crcs=done.crcs)


def remove_stale(folder: Path, current: set[str]) -> None:
    """Of a folder model, remove what an earlier commit had and the present one, which is `current`, has no more: old shards
    would be taken for its own. Files that nobody pulled stay, and so do GGUF files, which are models by themselves.

    Raises:
        ModelFileError: the disk refuses.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return
    stale = {name for name in manifest.files if name not in current and not name.lower().endswith(".gguf")}
    if not stale:
        return
    for name in stale:
        with contextlib.suppress(OSError):  # it is not ours any more
            (folder / name).unlink(missing_ok=True)
    write_manifest(folder, manifest.without(stale))


def _move(source: Path, target: Path) -> None:
    """In one step; where the target is on another disk (a link in the models folder), by a copy that is then moved so."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = target.with_name(f".{target.name}.copy")
        with source.open("rb") as from_file, copy.open("wb") as to_file:
            shutil.copyfileobj(from_file, to_file, _COPY_BYTES)
            to_file.flush()
            os.fsync(to_file.fileno())
        copy.replace(target)
        source.unlink()
