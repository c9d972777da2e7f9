"""Who gets past the door: names, origins, preflights."""

from __future__ import annotations

import pytest

from publican.apis.config import ApiConfig
from publican.apis.guard import host_is_allowed, is_loopback, origin_is_allowed
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask, keyed

LOOPBACK = ApiConfig()
EXPOSED = ApiConfig(loopback_only=False, key_required=True)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:5000", "LOCALHOST", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "a.localhost", "localhost.", ""],
)
def test_loopback_names_are_answered(host: str) -> None:
    assert host_is_allowed(host, LOOPBACK)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.1.2",
        "[::1",
        "a:b:c",
        "@",
    ],
)
def test_foreign_names_are_not(host: str) -> None:
    assert not host_is_allowed(host, LOOPBACK)
    assert host_is_allowed(host, EXPOSED)
    assert host_is_allowed(host, ApiConfig(allowed_hosts=("*",)))


def test_a_name_can_be_allowed() -> None:
    config = ApiConfig(allowed_hosts=("My.Host",))
    assert host_is_allowed("my.host:5000", config)
    assert not host_is_allowed("your.host", config)


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost:8000", "127.0.0.1:5000", True),
        ("http://[::1]:3000", "localhost:5000", True),
        ("https://my.lan:5000", "my.lan:5000", True),
        ("https://my.lan:5001", "my.lan:5000", False),
        ("https://evil.example", "127.0.0.1:5000", False),
        ("http://localhost.evil.example", "127.0.0.1:5000", False),
        ("null", "127.0.0.1:5000", False),
        ("", "127.0.0.1:5000", False),
        ("http://[", "127.0.0.1:5000", False),
        ("file://", "127.0.0.1:5000", False),
    ],
)
def test_origins_without_a_key(origin: str, host: str, allowed: bool) -> None:
    assert origin_is_allowed(origin, host, LOOPBACK) is allowed
    assert origin_is_allowed(origin, host, EXPOSED)
    assert origin_is_allowed(origin, host, ApiConfig(cors_origins=("*",)))
    assert origin_is_allowed(origin, host, ApiConfig(cors_origins=(origin,)))


def test_is_loopback() -> None:
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("localhost.com")


def test_a_foreign_page_changes_nothing_even_with_a_request_that_needs_no_preflight() -> None:
    host = ScriptedHost()
    headers = {"origin": "https://evil.example", "content-type": "text/plain"}
    for path in ("/v1/completions", "/api/v1/generate", "/api/v1/stop-stream", "/api/v1/model"):
        answer = ask(app_of(host), "POST", path, {"prompt": "x", "action": "unload"}, headers)
        assert answer.status_code == 403
        assert "evil.example" in answer.json()["error"]["message"]
        assert "access-control-allow-origin" not in answer.headers
    assert host.requests == []
    assert host.stopped == []
    assert host.cards


def test_rebinding_is_refused_in_the_path_s_own_words() -> None:
    answer = ask(app_of(ScriptedHost()), "GET", "/v1/models", headers={"host": "evil.example"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "not_allowed"
    assert ask(app_of(ScriptedHost()), "GET", "/api/v1/model", headers={"host": "evil.example"}).json()["result"]


def test_an_allowed_page_gets_its_headers() -> None:
    answer = ask(app_of(ScriptedHost()), "GET", "/v1/models", headers={"origin": "http://localhost:8000"})
    assert answer.headers["access-control-allow-origin"] == "http://localhost:8000"
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in answer.headers


def test_with_a_key_any_page_may_ask_and_still_needs_the_key() -> None:
    app = app_of(ScriptedHost(), keyed, loopback_only=False, key_required=True)
    headers = {"origin": "https://chat.example", "host": "my.host"}
    refused = ask(app, "GET", "/v1/models", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "*"
    assert ask(app, "GET", "/v1/models", headers={**headers, "authorization": "Bearer friend"}).status_code == 200


def test_preflight() -> None:
    wants = {
        "origin": "http://localhost:8000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
        "access-control-request-private-network": "true",
    }
    answer = ask(app_of(ScriptedHost()), "OPTIONS", "/v1/chat/completions", headers=wants)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-private-network"] == "true"
    foreign = ask(app_of(ScriptedHost()), "OPTIONS", "/v1/completions", headers={**wants, "origin": "https://evil.example"})
    assert foreign.status_code == 403


def test_options_on_any_path_is_an_empty_200() -> None:
    answer = ask(app_of(ScriptedHost()), "OPTIONS", "/whatever")
    assert (answer.status_code, answer.content) == (200, b"")
