"""Pickles that were fetched because somebody allowed it become safetensors, and go. Blocks on the disk."""

from __future__ import annotations

from pathlib import Path

from publican.core.errors import ModelFileError
from publican.store.manifest import ManifestFile, read_manifest, write_manifest
from publican.store.pickles.converting import convert, converted_name
from publican.store.pull.candidates import Candidate

CONVERTED = "converted from "
"""How the origin of a file begins that was made here."""


def are_converted(candidate: Candidate, folder: Path) -> bool:
    """Whether this was done already, for the same commit, and everything is still there."""
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    wanted = {converted_name(file.name): f"{CONVERTED}{file.path}" for file in candidate.weights}
    wanted |= {file.name: file.path for file in candidate.beside}
    for name, origin in wanted.items():
        entry = manifest.files.get(name)
        if entry is None or (entry.origin, entry.commit) != (origin, candidate.snapshot.commit):
            return False
        if not (folder / name).is_file() or (folder / name).stat().st_size != entry.num_bytes:
            return False
    return True


def convert_pickles(candidate: Candidate, folder: Path) -> None:
    """Turn the weights of `candidate`, which lie in `folder`, into safetensors.

    Raises:
        ModelFileError: one of them is damaged, or wants something run; the pickles stay as they are.
    """
    made = {}
    for file in candidate.weights:
        name = converted_name(file.name)
        num_bytes, digest = convert(folder / file.name, folder / name)
        snapshot = candidate.snapshot
        made[name] = ManifestFile(f"{CONVERTED}{file.path}", num_bytes, digest, snapshot.revision, snapshot.commit)
    manifest = read_manifest(folder)
    try:
        for file in candidate.weights:
            (folder / file.name).unlink()
    except OSError as error:
        raise ModelFileError(f"{folder} cannot be written to: {error.strerror or error}.") from None
    if manifest is not None:
        write_manifest(folder, manifest.without({file.name for file in candidate.weights}).with_files(made))
