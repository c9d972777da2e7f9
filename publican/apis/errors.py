"""Errors as statuses: the one place where a PublicanError becomes a number. Dialects take the table and change entries.

It does not know what an error looks like on the wire: that is each dialect's `error_body`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping

from publican.core.errors import (
    EngineError,
    InvalidRequest,
    ModelFileError,
    ModelNotFound,
    NotAllowed,
    OutOfMemory,
    Overloaded,
    PlanError,
    PublicanError,
    SettingsError,
    UnsupportedModel,
    WorkerDied,
)

log = logging.getLogger(__name__)

RESTART_S = 5
"""What a caller is told to wait after a worker's death; a restart takes a few seconds."""


class ClientGone(Exception):
    """The client hung up; there is nobody to answer. Never leaves `apis`."""


class Unauthenticated(NotAllowed):
    """No key, or a wrong one; a `NotAllowed` that is not this is a key that may not do what it asked."""


class BodyTooLarge(InvalidRequest):
    """The body is longer than this server reads."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The request is longer than {max_bytes:,} bytes; send less.")


class NoSuchRoute(InvalidRequest):
    """Nothing answers at this path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"There is nothing at {path[:200]!r}; check the address.")


class WrongMethod(InvalidRequest):
    """The path is there, but not for this method."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"{method[:20]} is not possible at {path[:200]!r}; use another method.")


STATUSES: Mapping[type[PublicanError], int] = {
    PublicanError: 500,
    InvalidRequest: 400,
    BodyTooLarge: 413,
    NoSuchRoute: 404,
    WrongMethod: 405,
    NotAllowed: 403,
    Unauthenticated: 401,
    ModelNotFound: 404,
    Overloaded: 429,
    ModelFileError: 500,
    UnsupportedModel: 400,
    OutOfMemory: 503,
    SettingsError: 500,
    EngineError: 500,
    WorkerDied: 503,
    PlanError: 500,
}


def status_of(error: PublicanError, statuses: Mapping[type[PublicanError], int] = STATUSES) -> int:
    """The status of the nearest class of `error` that the table names."""
    return next(statuses[cls] for cls in type(error).__mro__ if cls in statuses)


def error_headers(error: PublicanError, status: int) -> dict[str, str]:
    """What HTTP itself wants said beside the status."""
    if isinstance(error, Overloaded):
        return {"retry-after": str(error.retry_after_s)}
    if isinstance(error, WorkerDied):
        return {"retry-after": str(RESTART_S)}
    if status == 401:
        return {"www-authenticate": "Bearer"}
    return {}


def as_public(error: Exception) -> PublicanError:
    """`error` as it may be shown. What is a fault of ours goes to the log whole, and out as a sentence with its number."""
    if isinstance(error, PublicanError) and not isinstance(error, PlanError | SettingsError):
        return error
    number = secrets.token_hex(4)
    log.error("error %s", number, exc_info=error)
    return EngineError(f"Something broke inside the server; the host finds it in the log as error {number}.")
