"""`Hub`: which files a repository has at a revision, with their hashes. The hub's API, as far as pulling needs it.

What the hub says is checked as anything from outside. On the event loop; every call may take as long as the hub takes.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from publican.core.errors import ModelFileError
from publican.store.http.network import origin_of
from publican.store.http.remote_file import RemoteFile
from publican.store.http.session import Session
from publican.store.transfer.hashing import Digest

MAX_FILES = 100_000
MAX_FILE_BYTES = 1 << 50
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What a terminal takes for orders. No sound repository has files with such names."""


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a commit. `digest` is None where the hub does not say."""

    path: str
    num_bytes: int
    digest: Digest | None

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at one commit, which is what `revision` meant when it was asked.

    Attributes:
        licence: as its card says, such as ``apache-2.0``; empty if it does not.
        gated: whether its files are given only to those who accepted its terms.
        base_models: what it was made from, as its card says.
    """

    repo: str
    revision: str
    commit: str
    files: tuple[RepoFile, ...]
    licence: str = ""
    gated: bool = False
    base_models: tuple[str, ...] = ()

    def file(self, path: str) -> RepoFile | None:
        return next((file for file in self.files if file.path == path), None)


class Hub:
    """The hub, through a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._endpoint = session.network.endpoint

    async def snapshot(self, repo: str, revision: str = "main") -> Snapshot:
        """The files of `repo` at `revision`, resolved to its commit.

        Raises:
            ModelFileError: there is none, it may not be read, or the hub cannot be reached.
        """
        what = repo if revision == "main" else f"{repo}@{revision}"
        url = f"{self._endpoint}/api/models/{repo}/revision/{urllib.parse.quote(revision, safe='')}?blobs=true"
        info, _ = await self._session.json(url, what)
        if not isinstance(info, dict):
            raise self._nonsense(repo)
        commit, name = info.get("sha"), info.get("id")
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise self._nonsense(repo)
        files = self._siblings(info.get("siblings"))
        if files is None:  # mirrors, and very large repositories, leave the sizes out
            files = await self._tree(repo, commit)
        card = info.get("cardData")
        card = card if isinstance(card, dict) else {}
        return Snapshot(
            repo=name if isinstance(name, str) and name.lower() == repo.lower() else repo,
            revision=revision,
            commit=commit,
            files=tuple(file for file in files if not _CONTROLS.search(file.path)),
            licence=_licence(card),
            gated=bool(info.get("gated")),
            base_models=_texts(card.get("base_model")),
        )

    async def revisions(self, repo: str) -> dict[str, str]:
        """Branches and tags, to their commits."""
        info, _ = await self._session.json(f"{self._endpoint}/api/models/{repo}/refs", repo)
        found: dict[str, str] = {}
        for kind in ("branches", "tags"):
            entries = info.get(kind) if isinstance(info, dict) else None
            for entry in entries if isinstance(entries, list) else ():
                name, commit = (entry.get("name"), entry.get("targetCommit")) if isinstance(entry, dict) else (None, None)
                if isinstance(name, str) and isinstance(commit, str) and len(found) < 1_000:
                    found.setdefault(name, commit)
        return found

    def open(self, snapshot: Snapshot, file: RepoFile) -> RemoteFile:
        path = urllib.parse.quote(file.path, safe="/")
        url = f"{self._endpoint}/{snapshot.repo}/resolve/{snapshot.commit}/{path}"
        pinned = file.digest is not None
        return RemoteFile(self._session, url, f"{snapshot.repo}/{file.path}", file.num_bytes, pinned)

    async def read(self, snapshot: Snapshot, path: str, max_bytes: int) -> bytes | None:
        """A small file whole; None if the commit has no such file.

        Raises:
            ModelFileError: it is larger, or cannot be had.
        """
        file = snapshot.file(path)
        if file is None:
            return None
        if file.num_bytes > max_bytes:
            raise ModelFileError(f"{snapshot.repo}/{path} is {file.num_bytes:,} bytes long, and {max_bytes:,} are the most.")
        return await self.open(snapshot, file).read(0, file.num_bytes) if file.num_bytes else b""

    def _siblings(self, entries: Any) -> list[RepoFile] | None:
        """The files, or None if their sizes are not all there."""
        if not isinstance(entries, list) or len(entries) > MAX_FILES:
            return None
        files = [_repo_file(entry, "rfilename", "blobId", "sha256") for entry in entries]
        return None if any(file is None for file in files) else [file for file in files if file is not None]

    async def _tree(self, repo: str, commit: str) -> list[RepoFile]:
        """The files page by page. The next page's address must be the hub's own: the token goes there."""
        files: list[RepoFile] = []
        url: str | None = f"{self._endpoint}/api/models/{repo}/tree/{commit}?recursive=true"
        while url is not None:
            page, response = await self._session.json(url, repo)
            if not isinstance(page, list):
                raise self._nonsense(repo)
            for entry in page:
                file = _repo_file(entry, "path", "oid", "oid")
                if file is None and isinstance(entry, dict) and entry.get("type") != "directory":
                    raise self._nonsense(repo)
                if file is not None:
                    files.append(file)
            if len(files) > MAX_FILES:
                raise ModelFileError(f"{repo} has more than {MAX_FILES:,} files, and is hardly a model; check the name.")
            url = self._next_page(response)
        return files

    def _next_page(self, response: httpx.Response) -> str | None:
        link = response.links.get("next", {}).get("url")
        if not link:
            return None
        url = response.request.url.join(link)
        here = httpx.URL(self._endpoint)
        if url.host == "huggingface.co" and not self._session.network.is_home(url):  # mirrors pass the hub's own links on
            url = url.copy_with(scheme=here.scheme, host=here.host, port=here.port)
        if origin_of(url) != origin_of(here):
            raise ModelFileError(f"The list of files goes on at {url.host}, which is not the hub; check HF_ENDPOINT.")
        return str(url)

    def _nonsense(self, repo: str) -> ModelFileError:
        return ModelFileError(f"{self._endpoint} does not speak as the hub does (about {repo}); check HF_ENDPOINT.")


def _repo_file(entry: Any, path_key: str, blob_key: str, sha_key: str) -> RepoFile | None:
    if not isinstance(entry, dict) or entry.get("type", "file") != "file":
        return None
    path, size, blob, lfs = entry.get(path_key), entry.get("size"), entry.get(blob_key), entry.get("lfs")
    digest: Digest | None = None
    if isinstance(lfs, dict):
        size = lfs.get("size", size)
        sha256 = lfs.get(sha_key)
        if isinstance(sha256, str) and _SHA256.fullmatch(sha256):
            digest = Digest("sha256", sha256)
    elif isinstance(blob, str) and _COMMIT.fullmatch(blob):
        digest = Digest("git-sha1", blob)
    if not isinstance(path, str) or type(size) is not int or not 0 <= size < MAX_FILE_BYTES:
        return None
    return RepoFile(path, size, digest)


def _licence(card: Mapping[str, Any]) -> str:
    name = card.get("license_name") if card.get("license") == "other" else card.get("license")
    return ", ".join(_texts(name))[:100]


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    texts = [_CONTROLS.sub("", text) for text in value if isinstance(text, str)] if isinstance(value, list) else []
    return tuple(texts[:8])
