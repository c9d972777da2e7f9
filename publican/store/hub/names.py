"""Names from outside that are to become names on this disk. Pure; called before anything is made of such a name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from publican.core.errors import ModelFileError

MAX_PART_BYTES = 200
"""Of one part of a path: most file systems take 255, and what is fetched has an ending put to it."""
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')


def safe_path(name: str) -> PurePosixPath:
    """`name` as a relative path that stays below its folder on any system.

    Raises:
        ModelFileError: it would not.
    """
    parts = name.split("/")
    for part in parts:
        if part in ("", ".", "..") or _FORBIDDEN.search(part) or _RESERVED.fullmatch(part):
            raise _unsafe(name)
        if part != part.strip() or part.endswith(".") or part.startswith("~"):
            raise _unsafe(name)
        try:
            if len(part.encode()) > MAX_PART_BYTES:
                raise _unsafe(name)
        except UnicodeEncodeError:
            raise _unsafe(name) from None
    return PurePosixPath(*parts)


def safe_paths(names: Iterable[str]) -> dict[str, PurePosixPath]:
    """`safe_path` of each, none of which is another in other capitals, or a folder that another is a file of.

    Raises:
        ModelFileError
    """
    paths = {name: safe_path(name) for name in names}
    seen: dict[str, str] = {}
    for name, path in paths.items():
        key = str(path).casefold()
        if key in seen:
            raise ModelFileError(f"The files {seen[key]!r:.80} and {name!r:.80} differ in capitals only; name one with --file.")
        seen[key] = name
    folders = {str(parent).casefold() for path in paths.values() for parent in path.parents}
    for key, name in seen.items():
        if key in folders:
            raise ModelFileError(f"{name!r:.80} is a file and a folder at once, which no disk can hold; name one with --file.")
    return paths


def safe_part(text: str) -> str:
    """`text` as one part of a path: what cannot stand in one becomes a dash."""
    cleaned = re.sub(r"[^\w.+-]", "-", text, flags=re.ASCII).strip("-. ")[:100].rstrip("-. ")
    if not cleaned or _RESERVED.fullmatch(cleaned):
        return f"x-{cleaned}"
    return cleaned


def _unsafe(name: str) -> ModelFileError:
    return ModelFileError(f"The file name {name!r:.80} is one that must not be written to a disk; get the model elsewhere.")
