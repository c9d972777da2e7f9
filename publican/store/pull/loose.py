"""A GGUF file at an address that is not the hub's: held to the hash that its server states, or else to its size and tag.

On the event loop.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from pathlib import Path

import httpx

from publican.core.errors import ModelFileError, UnsupportedModel
from publican.store.gguf import read_header
from publican.store.gguf_parts import split_name
from publican.store.http.remote_file import RemoteFile
from publican.store.http.session import Session
from publican.store.hub.headers import parse_remote
from publican.store.hub.names import safe_part, safe_path
from publican.store.manifest import Manifest, ManifestFile
from publican.store.pull.bring import Brought, Wanted, bring
from publican.store.transfer.events import Watch
from publican.store.transfer.hashing import Digest


async def bring_loose(url: str, models: Path, session: Session, watch: Watch, distrust: bool = False) -> Brought:
    """The model at `url`, with all its parts if its name says that it has several.

    Raises:
        UnsupportedModel: it is no GGUF file. ModelFileError: it cannot be had, or is damaged.
    """
    name = urllib.parse.unquote(httpx.URL(url).path.rsplit("/", 1)[-1])
    if not name.lower().endswith(".gguf"):
        raise UnsupportedModel(
            f"{name or url:.120} is not called *.gguf; of other formats publican needs the whole repository, so give its name."
        )
    wanted = []
    for part in _part_urls(url, name):
        part_name = urllib.parse.unquote(httpx.URL(part).path.rsplit("/", 1)[-1])
        safe_path(part_name)
        remote = RemoteFile(session, part, part_name)
        label = Path(part_name)
        await parse_remote(remote, lambda source, label=label: read_header(source, label))  # type: ignore[misc]
        if remote.num_bytes is None:
            raise ModelFileError(f"{httpx.URL(url).host} does not say how long {part_name} is; download it by other means.")
        digest = await _stated(remote, remote.num_bytes)
        entry = ManifestFile(_public(part), remote.num_bytes, digest, commit=remote.etag or "")
        wanted.append(Wanted(part_name, remote, entry))
    folder = models / safe_part(httpx.URL(url).host)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    return await bring(wanted, folder, models, Manifest("", ""), session, watch, distrust)


async def _stated(remote: RemoteFile, num_bytes: int) -> Digest | None:
    """The hash that the server states, in the same words for another part of the file."""
    if remote.sha256 is not None:
        await remote.read(num_bytes - 1, 1)
    return Digest("sha256", remote.sha256) if remote.sha256 is not None else None


def _part_urls(url: str, name: str) -> list[str]:
    split = split_name(name)
    if split is None:
        return [url]
    here = f"-{split[1]:05}-of-"
    return [url.replace(here, f"-{number:05}-of-") for number in range(1, split[2] + 1)]


def _public(url: str) -> str:
    """Without what may be a secret in it: a password, a signature."""
    parsed = httpx.URL(url)
    return str(parsed.copy_with(username=None, password=None, query=None, fragment=None))
