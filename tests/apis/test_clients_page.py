"""docs/clients.md names every route, in the part of its owner, and no route that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from publican.apis.app import SOCKETS, all_routes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text()
LINES = [line for line in PAGE.splitlines() if line.startswith("| `")]
SPANS = [span for line in LINES for span in re.findall(r"`([^`]+)`", line.split(" | ")[0])]


def paths_on_the_page() -> set[str]:
    """Full paths, and those that stand short behind one that they share a beginning with."""
    found: set[str] = set()
    for line in LINES:
        whole = ""
        for span in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
            path = span.rpartition(" ")[2]
            if not path.startswith("/"):
                continue
            found.add(path)
            head = whole
            while head:
                head = head.rpartition("/")[0]
                found.add(head + path)
            whole = path if whole == "" or " " in span else whole
    return found


def test_every_route_is_on_the_page() -> None:
    known = paths_on_the_page()
    routes = {route.path.replace(":path}", "}") for route in all_routes()} | {socket.path for socket in SOCKETS}
    latest = {path for path in routes if path.startswith("/api/latest/") and path.replace("latest", "v1", 1) in known}
    assert not routes - known - latest


def test_no_route_is_on_the_page_that_is_not_there() -> None:
    routes = {route.path.replace(":path}", "}") for route in all_routes()} | {socket.path for socket in SOCKETS}
    for span in SPANS:
        path = span.rpartition(" ")[2]
        if path.startswith("/"):
            assert any(route == path or route.endswith(path) for route in routes), path
