"""What stands in a log line, for people and for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from publican.cli import logs
from publican.cli.logs import JsonLines, TextLines


@pytest.fixture
def root():
    """Whatever `set_up` does to the loggers is undone."""
    names = ("", "httpx", "httpcore", "asyncio", "uvicorn.error", "websockets")
    before = [(logging.getLogger(n), logging.getLogger(n).level, logging.getLogger(n).handlers[:]) for n in names]
    filters = logging.getLogger("uvicorn.error").filters[:]
    yield logging.getLogger()
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    logging.getLogger("uvicorn.error").filters[:] = filters


def record(error: BaseException | None = None, **extra) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    made = logging.LogRecord("publican.x", logging.INFO, __file__, 1, "%d of %s", (3, "\nall"), info)
    vars(made).update(extra)
    return made


def test_a_line_for_programs_is_one_object_with_all_that_is_known():
    line = JsonLines().format(record(ValueError("broken"), status=200, odd={1, 2}))
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"], said["status"]) == ("info", "publican.x", "3 of \nall", 200)
    assert "ValueError: broken" in said["exception"]
    assert abs(datetime.fromisoformat(said["time"]) - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_line_for_people_has_the_same_in_words():
    assert TextLines().format(record(status=200)).endswith("info publican.x: 3 of \nall status=200")


def test_a_client_that_sends_no_text_is_no_error_of_the_server(root, capsys):
    logs.set_up("info", "text")
    try:
        b"\xff".decode()
    except UnicodeDecodeError:
        logging.getLogger("uvicorn.error").exception("Invalid UTF-8 sequence received from client.")
    said = capsys.readouterr().err
    assert "warning uvicorn.error: Invalid UTF-8" in said
    assert "Traceback" not in said


def test_other_errors_of_the_web_server_keep_their_trace(root, capsys):
    logs.set_up("info", "text")
    try:
        raise KeyError("a fault")
    except KeyError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    assert "Traceback" in capsys.readouterr().err
