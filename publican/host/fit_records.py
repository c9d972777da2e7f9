"""How right the planner was, each time a model was loaded: a small file beside the models, the newest record of each first.

Blocks on the disk for a moment; called by `cli`. A file that is damaged or may not be written costs the records, no more.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from publican.host.measured import Measured

_FILE_NAME = ".fit.json"
_MOST = 100
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """A model that was loaded, with how many tokens of room, and what was then held beside what was planned."""

    model: str
    loader: str
    num_tokens: int
    when_s: int
    measured: tuple[Measured, ...]


def read_records(folder: Path) -> tuple[Record, ...]:
    """What is remembered in the models folder, the newest first; nothing if that cannot be read."""
    path = folder / _FILE_NAME
    try:
        if path.stat().st_size > _MAX_BYTES:
            return ()
        return tuple(_record(each) for each in json.loads(path.read_text("utf-8"))[:_MOST])
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return ()


def remember(folder: Path, record: Record) -> None:
    """Put `record` first, in place of an older one of the same model and loader."""
    if not record.measured or not folder.is_dir():
        return
    key = record.model, record.loader
    others = [each for each in read_records(folder) if (each.model, each.loader) != key]
    text = json.dumps([asdict(each) for each in [record, *others][:_MOST]], indent=1)
    with contextlib.suppress(OSError):
        part = folder / f"{_FILE_NAME}.{os.getpid()}.part"
        part.write_text(text, "utf-8")
        part.replace(folder / _FILE_NAME)


def worst(records: Sequence[Record]) -> float:
    """The largest error of all, whether too much or too little."""
    return max((abs(each.error) for record in records for each in record.measured), default=0.0)


def _record(fields: dict[str, Any]) -> Record:
    measured = tuple(
        Measured(str(each["where"]), int(each["planned_bytes"]), int(each["measured_bytes"])) for each in fields["measured"]
    )
    return Record(str(fields["model"]), str(fields["loader"]), int(fields["num_tokens"]), int(fields["when_s"]), measured)
