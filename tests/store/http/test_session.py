"""Tokens stay home, redirects are followed by hand, proxies are used, and what a server says is a sentence."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import http.server
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from publican.core.errors import ModelFileError, SettingsError
from publican.store.http.network import Network
from publican.store.http.session import MAX_JSON_BYTES, Session
from tests.store.fake_hub import FakeHub, Fault, running_hub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        hub.add("org/repo", {"config.json": b"{}", "model.safetensors": b"x" * 20_000})
        yield hub


def network(hub: FakeHub, **settings: Any) -> Network:
    return dataclasses.replace(Network(endpoint=hub.endpoint, backoff_s=0.01, tries=3, stall_s=2), **settings)


def ask(reach: Network, url: str) -> Any:
    async def main() -> Any:
        async with Session(reach) as session:
            return (await session.json(url, "org/repo"))[0]

    return asyncio.run(main())


def moved(hub: FakeHub, to: str, times: int = 1) -> None:
    hub.faults = [Fault("hub /api", times=times, status=302, headers={"Location": to})]


def test_the_token_goes_to_the_hub_and_is_dropped_at_the_first_step_elsewhere(hub: FakeHub) -> None:
    hub.loose["x.json"] = b"[1]"
    moved(hub, f"{hub.cdn_url}/loose/x.json")
    assert ask(network(hub, token="hf_good"), f"{hub.endpoint}/api/models/org/repo") == [1]
    (at_hub,) = hub.requests("hub")
    (elsewhere,) = hub.requests("cdn")
    assert at_hub.headers["authorization"] == "Bearer hf_good"
    assert "authorization" not in elsewhere.headers
    assert "hf_good" not in str(elsewhere.headers)


def test_back_home_it_has_its_token_again(hub: FakeHub) -> None:
    hub.faults = [
        Fault("hub /api", status=307, headers={"Location": f"{hub.cdn_url}/loose/x"}),
        Fault("cdn ", status=307, headers={"Location": f"{hub.endpoint}/api/models/org/repo"}),
    ]
    assert ask(network(hub, token="hf_good"), f"{hub.endpoint}/api/models/org/repo")["id"] == "org/repo"
    assert ["authorization" in seen.headers for seen in hub.seen] == [True, False, True]


def test_relative_redirects_of_renamed_repositories(hub: FakeHub) -> None:
    moved(hub, "/api/models/org/repo")
    assert ask(network(hub), f"{hub.endpoint}/api/models/old/name")["id"] == "org/repo"


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("ftp://x/y", "not one of the web"),
        ("file:///etc/passwd", "not one of the web"),
        ("/api/models/org/repo", "redirects for ever"),
    ],
)
def test_redirects_to_nowhere(hub: FakeHub, location: str, says: str) -> None:
    moved(hub, location, times=-1)
    with pytest.raises(ModelFileError, match=says):
        ask(network(hub), f"{hub.endpoint}/api/models/org/repo")


def test_never_from_https_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    async def send(self: Session, url: httpx.URL, what: str, headers: object) -> httpx.Response:
        return httpx.Response(302, headers={"Location": "http://evil.example/x"}, request=httpx.Request("GET", url))

    monkeypatch.setattr(Session, "_send", send)
    with pytest.raises(ModelFileError, match="from https to http"):
        ask(Network(), "https://huggingface.co/api/models/org/repo")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault("hub", times=-1, page=b"<html>log in</html>"), "is not JSON"),
        (Fault("hub", times=-1, page=b"[" * 100_000), "is not JSON"),
        (Fault("hub", times=-1, status=418), "status 418"),
        (Fault("hub", times=-1, status=500), "3 tries"),
        (Fault("hub", times=-1, cut_headers=True), "broke off"),
        (Fault("hub", times=-1, gzip=True), "compresses"),
        (Fault("hub", times=-1, stall_after=0, stall_s=5), "sends nothing any more"),
        (Fault("hub", times=-1, status=429, headers={"Retry-After": "9999"}), "9,999 seconds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_broken_hub_makes_of_it(hub: FakeHub, fault: Fault, says: str) -> None:
    hub.faults = [fault]
    with pytest.raises(ModelFileError, match=says) as caught:
        ask(network(hub, stall_s=0.2), f"{hub.endpoint}/api/models/org/repo")
    assert "\n" not in str(caught.value)


def test_an_endless_answer_is_cut_off(hub: FakeHub) -> None:
    hub.faults = [Fault("hub", page=b" " * (MAX_JSON_BYTES + 1))]
    with pytest.raises(ModelFileError, match="longer than 64 MiB"):
        ask(network(hub), f"{hub.endpoint}/api/models/org/repo")


def test_nobody_there() -> None:
    with pytest.raises(ModelFileError, match="cannot be reached; check the network"):
        ask(Network(endpoint="http://127.0.0.1:9", backoff_s=0.01, tries=2), "http://127.0.0.1:9/api")


def test_offline_sends_nothing(hub: FakeHub) -> None:
    with pytest.raises(ModelFileError, match="offline"):
        ask(network(hub, offline=True), f"{hub.endpoint}/api/models/org/repo")
    assert not hub.seen


@contextmanager
def forwarding_proxy() -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy on loopback, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            url = urllib.parse.urlsplit(self.path)
            connection = http.client.HTTPConnection(url.hostname or "", url.port)
            connection.request("GET", f"{url.path}?{url.query}", headers={"Host": url.netloc})
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def test_a_proxy_is_used_but_not_for_exceptions(hub: FakeHub) -> None:
    url = f"{hub.endpoint}/api/models/org/repo"
    with forwarding_proxy() as (proxy, asked):
        assert ask(network(hub, proxies={"http://": proxy}), url)["id"] == "org/repo"
        assert asked == [url]
        ask(network(hub, proxies={"http://": proxy, "all://127.0.0.1": None}), url)
        assert asked == [url]


@pytest.mark.parametrize(
    "settings",
    [
        {"proxies": {"https://": "socks5://127.0.0.1:1"}},
        {"proxies": {"https://": "ftp://x"}},
        {"endpoint": "huggingface.co"},
        {"endpoint": "https://user:pass@hub.lan"},
        {"endpoint": "file:///etc"},
    ],
)
def test_wrong_settings_are_said(hub: FakeHub, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        ask(network(hub, **settings), f"{hub.endpoint}/api/models/org/repo")


def test_certificates_that_cannot_be_read(hub: FakeHub, tmp_path: Any) -> None:
    with pytest.raises(SettingsError, match="SSL_CERT_FILE"):
        ask(network(hub, ca_file=tmp_path / "none.pem"), hub.endpoint)


def test_secrets_are_not_in_reprs(hub: FakeHub) -> None:
    assert "hf_x" not in repr(network(hub, token="hf_x", proxies={"http://": "http://u:p@x"}))
    assert "u:p" not in repr(network(hub, proxies={"http://": "http://u:p@x"}))
