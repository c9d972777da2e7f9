"""The parts of a split GGUF file: `name-00001-of-00003.gguf` and its siblings, one model in several files.

Made by llama.cpp's gguf-split; the first part has all metadata, each has the keys `split.no` and `split.count`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from publican.core.errors import ModelFileError

MAX_PARTS = 1_000
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


def split_name(name: str) -> tuple[str, int, int] | None:
    """("name", 1, 3) for ``name-00001-of-00003.gguf``; None for a file that is whole."""
    match = _PART.fullmatch(name)
    if match is None:
        return None
    number, count = int(match["number"]), int(match["count"])
    return (match["stem"], number, count) if 1 <= number <= count <= MAX_PARTS else None


def all_parts(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` is one of, in order; just `path` if it is whole.

    Raises:
        ModelFileError: parts are missing.
    """
    split = split_name(path.name)
    if split is None:
        return (path,)
    _, _, count = split
    suffix = path.name[-len(".gguf") :]
    base = path.name[: -len("-00001-of-00001.gguf")]
    parts = tuple(path.with_name(f"{base}-{number:05}-of-{count:05}{suffix}") for number in range(1, count + 1))
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelFileError(f"Of the {count} parts of {path.name} these are missing: {', '.join(missing[:3])}{more}.")
    return parts


def check_part(metadata: Mapping[str, Any], path: Path, index: int, num_parts: int) -> None:
    """Raises ModelFileError if the file's own keys say that it is another part than its name says."""
    count, number = metadata.get("split.count", 1) or 1, metadata.get("split.no", 0)
    if (count, number) == (num_parts, index):
        return
    if num_parts == 1:
        raise ModelFileError(
            f"{path.name} is one of {count} parts of a split model; give the parts their names back (…-00001-of-0000N.gguf)."
        )
    raise ModelFileError(f"{path.name} is not part {index + 1} of {num_parts}, as its name says; download it again.")
