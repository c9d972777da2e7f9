"""The manifest beside pulled files: where each came from, at which commit, and what it must be to the bit.

`publican-manifest.json` in the folder of the model(s). Whoever writes into the models folder may have written it, so it is
checked as anything from outside. Blocks on the disk; any thread.
"""

from __future__ import annotations

import array
import base64
import binascii
import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from publican.core.errors import ModelFileError
from publican.store.bounded_json import read_object
from publican.store.transfer.hashing import Digest

MANIFEST = "publican-manifest.json"
_VERSION = 1
_MAX_BYTES = 64 << 20
_HEX = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file.

    Attributes:
        origin: its path in the repository, or its address.
        revision, commit: what was asked for, and what that was then; empty for a file from elsewhere.
        digest: None where its server gave none.
        crcs: CRC-32 of each of its pieces (`transfer.pieces`), to find which are bad; may be empty.
    """

    origin: str
    num_bytes: int
    digest: Digest | None
    revision: str = ""
    commit: str = ""
    crcs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """Of one folder. `repo` is empty for files that are from no repository; `endpoint` is the hub or mirror they came from."""

    repo: str
    endpoint: str
    licence: str = ""
    base_models: tuple[str, ...] = ()
    files: Mapping[str, ManifestFile] = field(default_factory=dict)

    def with_files(self, files: Mapping[str, ManifestFile]) -> Manifest:
        return replace(self, files={**self.files, **files})

    def without(self, names: set[str]) -> Manifest:
        return replace(self, files={name: file for name, file in self.files.items() if name not in names})


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`; None if there is none, or only one that is damaged (the files then count as unknown)."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return _from_json(read_object(path, _MAX_BYTES))
    except (ModelFileError, ValueError):
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it in one step. One without files goes away.

    Raises:
        ModelFileError: the disk refuses.
    """
    path = folder / MANIFEST
    try:
        if not manifest.files:
            path.unlink(missing_ok=True)
            return
        handle, temporary = tempfile.mkstemp(prefix=".manifest-", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(_to_json(manifest), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise ModelFileError(f"{path} cannot be written: {error.strerror or error}.") from None


def _to_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "repo": manifest.repo,
        "endpoint": manifest.endpoint,
        "licence": manifest.licence,
        "base_models": list(manifest.base_models),
        "files": {
            name: {
                "origin": file.origin,
                "num_bytes": file.num_bytes,
                "revision": file.revision,
                "commit": file.commit,
                **({file.digest.kind: file.digest.hex} if file.digest else {}),
                **({"crcs": _packed(file.crcs)} if file.crcs else {}),
            }
            for name, file in manifest.files.items()
        },
    }


def _from_json(data: Mapping[str, Any]) -> Manifest:
    if data.get("version") != _VERSION or not isinstance(data.get("files"), dict):
        raise ValueError
    base = data.get("base_models")
    return Manifest(
        repo=_text(data, "repo"),
        endpoint=_text(data, "endpoint"),
        licence=_text(data, "licence"),
        base_models=tuple(item for item in base if isinstance(item, str)) if isinstance(base, list) else (),
        files={name: _file(entry) for name, entry in data["files"].items() if _is_name(name)},
    )


def _is_name(name: str) -> bool:
    """Of a file in the manifest's own folder."""
    return name == Path(name).name and name not in ("", "..") and "\0" not in name


def _file(entry: Any) -> ManifestFile:
    if not isinstance(entry, dict) or type(entry.get("num_bytes")) is not int or entry["num_bytes"] < 0:
        raise ValueError
    digest = None
    kinds: tuple[Literal["sha256", "git-sha1"], ...] = ("sha256", "git-sha1")
    for kind in kinds:
        text = entry.get(kind)
        if isinstance(text, str) and _HEX.fullmatch(text):
            digest = Digest(kind, text)
    return ManifestFile(
        origin=_text(entry, "origin"),
        num_bytes=entry["num_bytes"],
        digest=digest,
        revision=_text(entry, "revision"),
        commit=_text(entry, "commit"),
        crcs=_unpacked(entry.get("crcs")),
    )


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    return value if isinstance(value, str) else ""


def _packed(crcs: tuple[int, ...]) -> str:
    return base64.b64encode(b"".join(crc.to_bytes(4, "little") for crc in crcs)).decode()


def _unpacked(text: object) -> tuple[int, ...]:
    if not isinstance(text, str):
        return ()
    try:
        values = array.array("I", base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return ()
    if sys.byteorder == "big":
        values.byteswap()
    return tuple(values)
