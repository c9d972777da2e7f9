"""JSON from outside: of bounded size and depth, with no name twice, and an object at the top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from publican.core.errors import ModelFileError
from publican.store.source import FileSource

MAX_CONFIG_BYTES = 16 << 20


class _DuplicateNameError(ValueError):
    pass


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `data`; `what` begins the sentence of an error.

    Numbers may be NaN or infinite, as Python's own writer makes them.

    Raises:
        ModelFileError: it is not JSON in UTF-8, not an object, nested too deep, or names something twice.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise ModelFileError(f"{what} is nested too deep; download it again.") from None
    except _DuplicateNameError as error:
        raise ModelFileError(f"{what} names {str(error)!r:.80} twice; download it again.") from None
    except ValueError:
        raise ModelFileError(f"{what} is not valid JSON; download it again.") from None
    if not isinstance(value, dict):
        raise ModelFileError(f"{what} is not a JSON object; download it again.")
    return value


def read_object(path: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The JSON object in the file at `path`.

    Raises:
        ModelFileError: as `parse_object`; or the file is not there, or larger than `max_bytes`.
    """
    with FileSource(path) as source:
        if source.size > max_bytes:
            raise ModelFileError(f"{path.name} is {source.size:,} bytes long, and {max_bytes:,} are the most.")
        return parse_object(source.read(0, max_bytes), path.name)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _DuplicateNameError(name)
            seen.add(name)
    return value
