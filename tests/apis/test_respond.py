"""Answers on a real server: when what is sent, who notices a hang-up, what an answer that breaks off looks like."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from publican.core.errors import EngineError, Overloaded, PublicanError, WorkerDied
from publican.core.events import Delta, Queued, Started, TokenOutput
from publican.core.ids import TokenId
from publican.core.request import Request
from tests.apis.fake_host import FOREVER, Hold, Pause, Script, ScriptedHost, answer, failing
from tests.apis.running import app_of, served, until
from tests.apis.sse_parser import parse_sse

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
STREAM = {"prompt": "x", "stream": True}
DEAD = WorkerDied("The model's process ended while this request ran; it is being restarted, try again.")


@contextmanager
def serving(script: Script | None = None, **config: Any) -> Iterator[tuple[ScriptedHost, str]]:
    host = ScriptedHost() if script is None else ScriptedHost(script)
    with served(app_of(host, **config)) as address:
        yield host, f"http://{address}"


def post(base: str, path: str, body: Any, timeout: float = 10.0) -> httpx.Response:
    return httpx.post(base + path, json=body, timeout=timeout)


def listen(base: str, body: Any, enough: Callable[[bytes], bool], heard: threading.Event) -> bytes:
    """All that an answer says; `heard` is set as soon as what came so far is enough."""
    with httpx.stream("POST", base + "/v1/completions", json=body, timeout=10) as got:
        assert got.status_code == 200
        data = b""
        for chunk in got.iter_raw():
            data += chunk
            if enough(data):
                heard.set()
    return data


@contextmanager
def connection(base: str, path: str, body: Any) -> Iterator[socket.socket]:
    data = json.dumps(body).encode()
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        yield sock


# --- streams


def test_headers_of_a_stream() -> None:
    with serving() as (_, base):
        got = post(base, "/v1/completions", STREAM)
    assert got.headers["content-type"] == "text/event-stream"
    assert got.headers["cache-control"] == "no-cache"
    assert got.headers["x-accel-buffering"] == "no"
    assert "content-length" not in got.headers
    assert got.headers["x-request-id"].startswith("cmpl-")
    assert "server" not in got.headers
    stream = parse_sse(got.content)
    assert stream.events[-1] == "[DONE]"
    assert "".join(value["choices"][0]["text"] for value in stream.values) == "Hello world!"


def test_tokens_arrive_when_they_are_made() -> None:
    more = threading.Event()

    def script(request: Request) -> list[Any]:
        started, *rest = answer(request, "ab")
        return [started, rest[0], Hold(more), *rest[1:]]

    with serving(script) as (_, base), httpx.stream("POST", base + "/v1/completions", json=STREAM) as got:
        seen = ""
        for chunk in got.iter_text():
            seen += chunk
            if '"text":"a"' in seen:
                assert '"text":"b"' not in seen or more.is_set()
                more.set()
    assert '"text":"b"' in seen


def test_what_is_ready_together_is_one_event_but_with_logprobs_one_per_token() -> None:
    with serving() as (_, base):
        texts = [v["choices"][0]["text"] for v in parse_sse(post(base, "/v1/completions", STREAM).content).values]
        each = [
            v["choices"][0]["text"] for v in parse_sse(post(base, "/v1/completions", {**STREAM, "logprobs": 1}).content).values
        ]
    assert texts == ["Hello world!", ""]
    assert each == ["Hello", " world", "!", ""]


def test_who_waits_in_the_queue_hears_at_once_and_then_every_so_often() -> None:
    heard = threading.Event()

    def script(request: Request) -> list[Any]:
        return [Queued(3, 12.4), Hold(heard), Queued(0), Pause(0.05), *answer(request, ["Hi"])]

    with serving(script, ping_s=0.1, commit_s=60.0) as (_, base):
        data = listen(base, STREAM, lambda so_far: so_far.count(b": queued position=3 estimate_s=12") >= 3, heard)
    stream = parse_sse(data)
    assert stream.comments[0] == ": queued position=3 estimate_s=12"
    assert ": queued position=0" in stream.comments
    assert stream.values[0]["choices"][0]["text"] == "Hi"


def test_a_long_prefill_is_not_silence() -> None:
    heard = threading.Event()
    with serving(lambda request: [Hold(heard), *answer(request, ["Hi"])], commit_s=0.1, ping_s=0.1) as (_, base):
        data = listen(base, STREAM, lambda so_far: so_far.count(b": ping") >= 3, heard)
    assert parse_sse(data).values[0]["choices"][0]["text"] == "Hi"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_failure_before_anything_was_sent_has_its_status(path: str) -> None:
    with serving(failing(DEAD, Queued(1), Started(5))) as (_, base):
        for stream in (True, False):
            got = post(base, path, {**STREAM, **CHAT, "stream": stream})
            assert got.status_code == 503
            assert got.reason_phrase == "Service Unavailable"
            assert got.json()["error"]["message"] == str(DEAD)
            assert int(got.headers["retry-after"]) >= 1


def test_a_failure_in_mid_stream_is_said_in_the_stream() -> None:
    script = failing(
        EngineError("The engine stopped."), Started(5), Delta(0, "so far", (TokenOutput(TokenId(1)),)), Pause(0.05)
    )
    with serving(script) as (_, base):
        got = post(base, "/v1/completions", STREAM)
    assert got.status_code == 200
    stream = parse_sse(got.content)
    assert stream.values[0]["choices"][0]["text"] == "so far"
    assert stream.values[-1]["error"]["message"] == "The engine stopped."
    assert stream.events[-1] == "[DONE]"


def test_a_fault_of_ours_in_mid_stream_tells_no_secret() -> None:
    with serving(lambda request: [Started(5), Delta(0, "a"), Pause(0.05), RuntimeError("/home/secret")]) as (_, base):
        got = post(base, "/v1/completions", STREAM)
    assert "secret" not in got.text
    assert "log as error" in parse_sse(got.content).values[-1]["error"]["message"]


# --- whole answers


def test_a_whole_answer_has_its_length() -> None:
    with serving() as (_, base):
        got = post(base, "/v1/chat/completions", CHAT)
    assert int(got.headers["content-length"]) == len(got.content)
    assert got.json()["choices"][0]["message"]["content"] == "Hello world!"


def test_a_long_wait_is_kept_alive_with_spaces() -> None:
    heard = threading.Event()
    with serving(lambda request: [Hold(heard), *answer(request, ["Hi"])], patience_s=0.1, ping_s=0.1) as (_, base):
        data = listen(base, {"prompt": "x"}, lambda so_far: len(so_far) >= 3, heard)
    assert data.startswith(b"   ")
    assert json.loads(data)["choices"][0]["text"] == "Hi"


@pytest.mark.parametrize("path", ["/v1/completions", "/api/v1/generate"])
def test_a_failure_after_the_first_space_is_the_dialect_s_error_under_200(path: str) -> None:
    with serving(failing(DEAD, Pause(0.5)), patience_s=0.05, ping_s=0.1) as (_, base):
        got = post(base, path, {"prompt": "x"})
    assert got.status_code == 200
    assert got.content.startswith(b" ")
    assert got.json()["error"]["message"] == str(DEAD)


def test_a_failure_within_the_patience_has_its_status() -> None:
    with serving(failing(DEAD, Pause(0.2)), patience_s=5.0) as (_, base):
        assert post(base, "/v1/completions", {"prompt": "x"}).status_code == 503


# --- hanging up


@pytest.mark.parametrize(
    "body", [STREAM, {"prompt": "x"}, {**STREAM, "prompt": ["a", "b", "c"]}], ids=["stream", "whole", "prompts"]
)
@pytest.mark.parametrize("script", [[Started(5), Delta(0, "a"), Pause(FOREVER)], [Pause(FOREVER)], [Queued(9), Pause(FOREVER)]])
def test_a_client_that_hangs_up_cancels(body: dict[str, Any], script: list[Any]) -> None:
    with serving(lambda request: script) as (host, base):
        num_requests = 3 if isinstance(body["prompt"], list) else 1
        with connection(base, "/v1/completions", body):
            until(lambda: len(host.requests) == num_requests)
        until(lambda: len(host.cancelled) == num_requests)


def test_a_client_that_hangs_up_while_its_answer_flows_cancels() -> None:
    def endless(request: Request) -> Iterator[Any]:
        yield Started(5)
        while True:
            yield Pause(0.005)
            yield Delta(0, " more", (TokenOutput(TokenId(1)),))

    with serving(endless) as (host, base):
        with connection(base, "/v1/completions", STREAM) as sock:
            seen = b""
            while seen.count(b" more") < 5:
                seen += sock.recv(65_536)
        until(lambda: host.cancelled)


def test_a_client_that_hangs_up_before_its_body_is_complete_leaves_nothing() -> None:
    with serving() as (host, base):
        address = base.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as sock:
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
            time.sleep(0.05)
        time.sleep(0.05)
        assert host.requests == []
        assert post(base, "/v1/completions", {"prompt": "x"}).status_code == 200


def test_a_client_that_does_not_read_is_not_waited_for_by_others() -> None:
    big = [Started(5), *(Delta(0, "y" * 1_000) for _ in range(20_000)), Pause(FOREVER)]

    def script(request: Request) -> Any:
        return big if getattr(request.prompt, "text", "") == "big" else answer(request, ["Hi"])

    with serving(script) as (host, base):
        with connection(base, "/v1/completions", {**STREAM, "prompt": "big"}):
            until(lambda: host.requests)
            assert post(base, "/v1/completions", {"prompt": "x"}).json()["choices"][0]["text"] == "Hi"
        until(lambda: host.cancelled)


# --- many


def test_two_hundred_connections_at_once() -> None:
    def script(request: Request) -> list[Any]:
        return answer(request, ["a", "b", "c"], pause_s=0.1)

    async def one(client: httpx.AsyncClient, stream: bool) -> str:
        got = await client.post("/v1/completions", json={"prompt": "x", "stream": stream})
        assert got.status_code == 200
        values = parse_sse(got.content).values if stream else [got.json()]
        return "".join(value["choices"][0]["text"] for value in values)

    async def all_of_them(base: str) -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=base, limits=limits, timeout=30) as client:
            return await asyncio.gather(*(one(client, i % 2 == 0) for i in range(200)))

    with serving(script) as (host, base):
        results = asyncio.run(all_of_them(base))
    assert results == ["abc"] * 200
    assert len(host.requests) == 200
    assert host.cancelled == []


def test_too_many_are_told_when_to_come_back() -> None:
    error: PublicanError = Overloaded("256 requests are waiting already; try again in 12 s.", 12)
    host = ScriptedHost(refusal=error)
    with served(app_of(host)) as address:
        got = httpx.post(f"http://{address}/v1/chat/completions", json={**CHAT, "stream": True})
    assert got.status_code == 429
    assert got.reason_phrase == "Too Many Requests"
    assert got.headers["retry-after"] == "12"
    assert got.json()["error"]["code"] == "rate_limit_exceeded"


def test_head_and_keep_alive() -> None:
    with serving() as (_, base), httpx.Client(base_url=base) as client:
        assert client.head("/v1/models").content == b""
        assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"
        assert client.get("/v1/models/tiny").json()["id"] == "tiny"
        missing = client.get("/v1/models/a/b")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"


def test_a_stopped_server_lets_nothing_hang() -> None:
    host = ScriptedHost(lambda request: [Started(5), Delta(0, "a"), Pause(FOREVER)])
    sock = None
    with served(app_of(host), timeout_graceful_shutdown=1) as address:
        sock = socket.create_connection(address.split(":"))  # type: ignore[arg-type]
        data = json.dumps(STREAM).encode()
        sock.sendall(f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        until(lambda: host.requests)
    assert host.cancelled == [host.requests[0].id]
    sock.close()
