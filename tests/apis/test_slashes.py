"""Addresses with a slash too many."""

from __future__ import annotations

import pytest

from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask, keyed


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/v1/models/", "/v1//models", "//v1///models//", "/key/friend/v1/models/", "/key/friend//v1//models"],
)
def test_it_is_the_same_path(path: str) -> None:
    headers = {} if path.startswith("/key/") else {"authorization": "Bearer friend"}
    answer = ask(app_of(ScriptedHost(), keyed), "GET", "http://localhost" + path, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["data"][0]["id"] == "tiny"


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1//chat/completions"])
def test_a_body_is_not_lost(path: str) -> None:
    host = ScriptedHost()
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    assert ask(app_of(host), "POST", path, body).status_code == 200
    assert len(host.requests) == 1


@pytest.mark.parametrize("path", ["/", "//", "///"])
def test_the_root_is_the_root(path: str) -> None:
    assert ask(app_of(ScriptedHost()), "GET", "http://localhost" + path).status_code == 200


def test_what_is_not_there_is_not_there_with_more_slashes() -> None:
    answer = ask(app_of(ScriptedHost()), "GET", "/v1/nothing//here/")
    assert answer.status_code == 404
    assert "'/v1/nothing/here'" in answer.json()["error"]["message"]


def test_a_key_is_needed_as_before() -> None:
    for path in ("/v1/models/", "/v1//models"):
        assert ask(app_of(ScriptedHost(), keyed), "GET", path).status_code == 401
