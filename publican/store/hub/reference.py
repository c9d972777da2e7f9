"""What SOURCE means in `publican pull SOURCE`. Pure, but for the question whether a path exists.

default                              the default model
./model.gguf, /models/folder, ~/x    a file or folder on this machine
org/repo                             a repository of the hub
org/repo:Q4_K_M, org/repo:4.0bpw     one quant of it, or a branch
org/repo@revision                    a branch, a tag or a commit
https://huggingface.co/org/repo[/tree/REV | /blob/REV/FILE | /resolve/REV/FILE]
https://anywhere/model.gguf          a file
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from publican.core.errors import InvalidParameter
from publican.store.source import expanded

_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
_REPO = re.compile(rf"({_PART}/{_PART})(?:@([^\s:@]{{1,200}}))?(?::([^\s:@]{{1,200}}))?", re.ASCII)
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_PREFIXES = ("hf://", "hf:", *(f"{host}/" for host in _HUB_HOSTS))
_VIEWS = ("tree", "blob", "resolve", "raw", "commit")


@dataclass(frozen=True, slots=True)
class DefaultReference:
    """The default model."""


@dataclass(frozen=True, slots=True)
class PathReference:
    """Something on this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class UrlReference:
    """A file somewhere on the web."""

    url: str


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository of the hub.

    Attributes:
        revision: a branch, tag or commit; None is ``main``.
        selector: a quant or a branch, whichever there is.
        file: one file of it.
    """

    repo: str
    revision: str | None = None
    selector: str | None = None
    file: str | None = None


Reference = DefaultReference | PathReference | UrlReference | HubReference


def parse_source(text: str, endpoint: str, exists: Callable[[Path], bool] = Path.exists) -> Reference:
    """What `text` means.

    Args:
        endpoint: the hub or mirror in use, whose addresses are the hub's too.

    Raises:
        InvalidParameter: nothing.
    """
    text = text.strip()
    if text.lower() == "default":
        return DefaultReference()
    if "://" in text and not text.startswith("hf://"):
        return _from_url(text, endpoint)
    if text.startswith((".", "/", "~", "\\")) or re.match(r"[A-Za-z]:[\\/]", text):
        return PathReference(expanded(text))
    bare = next((text.removeprefix(prefix) for prefix in _PREFIXES if text.startswith(prefix)), None)
    if bare is None and "\0" not in text and text and exists(Path(text)):
        return PathReference(Path(text))
    match = _REPO.fullmatch(text if bare is None else bare)
    if match is None or ".." in match[1] or "--" in match[1]:
        if bare is not None and bare.count("/") >= 2:
            return _from_url(f"https://{_HUB_HOSTS[0]}/{bare}", endpoint)
        raise InvalidParameter("source", _not_a_source(text))
    return HubReference(match[1], match[2], match[3])


def _from_url(text: str, endpoint: str) -> Reference:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise InvalidParameter("source", _not_a_source(text)) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidParameter("source", f"{text!r:.120} is not an address of the web; it must begin with https://.")
    home = httpx.URL(endpoint)
    is_mirror = (url.host, url.port) == (home.host, home.port)
    if url.host not in _HUB_HOSTS and not is_mirror:
        return UrlReference(text)
    path = url.raw_path.decode("ascii").partition("?")[0]
    if is_mirror:
        path = path.removeprefix(home.path.rstrip("/"))
    return _from_hub_path([urllib.parse.unquote(part) for part in path.strip("/").split("/")], text)


def _from_hub_path(parts: list[str], text: str) -> Reference:
    if parts[0] in ("datasets", "spaces", "collections", "papers"):
        raise InvalidParameter("source", f"{text!r:.120} is of the hub's {parts[0]} and not a model; give a model's address.")
    if parts[:2] == ["api", "models"]:
        parts = parts[2:]
    repo = "/".join(parts[:2])
    match = _REPO.fullmatch(repo)
    if len(parts) < 2 or match is None or (len(parts) > 2 and parts[2] not in _VIEWS):
        raise InvalidParameter("source", _not_a_source(text))
    revision = parts[3] if len(parts) > 3 else match[2]
    file = "/".join(parts[4:]) if len(parts) > 4 and parts[2] in ("blob", "resolve", "raw") else None
    return HubReference(match[1], revision, match[3], file)


def _not_a_source(text: str) -> str:
    if text and "/" not in text:
        return f"{text!r:.120} names no owner; write owner/{text:.80}, an address, a path, or: default."
    return f"{text!r:.120} is neither org/repo, an address, a path, nor: default."
