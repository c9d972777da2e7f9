"""Reports in files: JSON with a name and a version, so that a later run can be compared with an earlier one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from publican import __version__
from publican.core.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FORMAT = 1


def report_body(kind: str, report: DataclassInstance) -> dict[str, Any]:
    """A report as what JSON can hold."""
    return {"kind": kind, "format": _FORMAT, "publican": __version__, **dataclasses.asdict(report)}


def write_report(path: Path, body: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(body, indent=1) + "\n")


def read_report(path: Path) -> dict[str, Any]:
    """A report that was written before.

    Raises:
        SettingsError: there is none, or it is something else.
    """
    try:
        body = json.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"The report {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise SettingsError(f"{path} is not a report: it is not JSON.") from None
    if not isinstance(body, dict) or not str(body.get("kind", "")).startswith("publican bench"):
        raise SettingsError(f"{path} is not a report of 'publican bench'.")
    if body.get("format") != _FORMAT:
        raise SettingsError(f"{path} was written by another version ({body.get('publican')}); measure again.")
    return body
