"""Puts right what `check` found to be wrong, from where the manifest says that it came, at the commit that it came from.

Runs on the event loop.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from publican.core.errors import ModelFileError
from publican.store.http.network import Network
from publican.store.http.remote_file import RemoteFile
from publican.store.http.session import Session
from publican.store.manifest import Manifest, ManifestFile
from publican.store.pull.bring import Brought, Wanted, bring
from publican.store.pull.unpickled import CONVERTED
from publican.store.transfer.events import Waiting, Watch


async def repair(
    folder: Path, manifest: Manifest, names: Sequence[str], models: Path, network: Network, watch: Watch
) -> Brought:
    """Make the files of `folder` that are called `names` what they should be; only their bad pieces are fetched.

    Raises:
        ModelFileError: nobody knows where they came from, or they cannot be had.
    """
    async with Session(network, lambda why, wait_s: watch(Waiting(why, wait_s))) as session:
        wanted = []
        for name in names:
            entry = manifest.files[name]
            if entry.origin.startswith(CONVERTED):
                raise ModelFileError(f"{name} was {entry.origin} on this machine; delete the model and pull it again.")
            url, what = _place(name, entry, manifest, network)
            remote = RemoteFile(session, url, what, entry.num_bytes, pinned=bool(manifest.repo) and entry.digest is not None)
            if not manifest.repo:
                remote.etag = entry.commit or None  # another file may be there by now
            wanted.append(Wanted(name, remote, entry))
        return await bring(wanted, folder, models, manifest, session, watch, distrust=True)


def _place(name: str, entry: ManifestFile, manifest: Manifest, network: Network) -> tuple[str, str]:
    """The address of a file, and what it is called."""
    if manifest.repo:
        path = urllib.parse.quote(entry.origin, safe="/")
        return f"{network.endpoint}/{manifest.repo}/resolve/{entry.commit}/{path}", f"{manifest.repo}/{entry.origin}"
    if not entry.origin.startswith(("https://", "http://")):
        raise ModelFileError(f"Nobody knows where {name} came from; delete it and pull it again.")
    return entry.origin, name
