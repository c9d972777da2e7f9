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
from publican.store.manifest import Manifest
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
    if not manifest.repo:
        raise ModelFileError(f"The files in {folder} are from no repository of the hub; pull them again from where they came.")
    async with Session(network, lambda why, wait_s: watch(Waiting(why, wait_s))) as session:
        wanted = []
        for name in names:
            entry = manifest.files[name]
            if entry.origin.startswith(CONVERTED):
                raise ModelFileError(f"{name} was {entry.origin} on this machine; delete the model and pull it again.")
            path = urllib.parse.quote(entry.origin, safe="/")
            url = f"{network.endpoint}/{manifest.repo}/resolve/{entry.commit}/{path}"
            what = f"{manifest.repo}/{entry.origin}"
            wanted.append(Wanted(name, RemoteFile(session, url, what, entry.num_bytes, entry.digest is not None), entry))
        return await bring(wanted, folder, models, manifest, session, watch, distrust=True)
