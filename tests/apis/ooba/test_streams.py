"""The 2023 websockets with a real client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import SHUT_RDWR
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from publican.core.errors import EngineError, Overloaded
from publican.core.events import Delta, Started, TokenOutput
from publican.core.ids import TokenId
from publican.core.request import Request
from tests.apis.fake_host import FOREVER, Hold, Pause, Script, ScriptedHost, answer, failing
from tests.apis.running import app_of, in_background, keyed, open_door, served, until

PATH = "/api/v1/stream"


@contextmanager
def serving(script: Script | None = None, authenticate: Any = open_door, **config: Any) -> Iterator[tuple[ScriptedHost, str]]:
    host = ScriptedHost() if script is None else ScriptedHost(script)
    with served(app_of(host, authenticate, **config)) as address:
        yield host, f"ws://{address}"


def events(socket: ClientConnection) -> list[dict[str, Any]]:
    """One answer: everything up to `stream_end`."""
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["event"] != "stream_end":
        seen.append(json.loads(socket.recv(timeout=5)))
    return seen


def check_numbers(seen: list[dict[str, Any]]) -> None:
    assert [event["message_num"] for event in seen] == list(range(len(seen)))
    assert {event["event"] for event in seen[:-1]} == {"text_stream"}


def test_a_stream_of_deltas_and_then_another_on_the_same_socket() -> None:
    with (
        serving(lambda request: answer(request, ["Once", " upon"], pause_s=0.1)) as (host, base),
        connect(base + PATH) as socket,
    ):
        for prompt in ("a", "b"):
            socket.send(json.dumps({"prompt": prompt, "max_new_tokens": 20}))
            seen = events(socket)
            check_numbers(seen)
            assert "".join(event["text"] for event in seen[:-1]) == "Once upon"
            assert set(seen[0]) == {"event", "message_num", "text"}
            assert set(seen[-1]) == {"event", "message_num"}
    assert [getattr(request.prompt, "text", None) for request in host.requests] == ["a", "b"]


def test_at_most_24_updates_per_second_and_the_last_state_always() -> None:
    with serving(lambda request: answer(request, ["x"] * 100, pause_s=0.005)) as (_, base), connect(base + PATH) as socket:
        began = time.monotonic()
        socket.send('{"prompt": "x"}')
        seen = events(socket)
        took_s = time.monotonic() - began
    assert "".join(event.get("text", "") for event in seen) == "x" * 100
    assert len(seen) - 1 <= 24 * took_s + 2
    assert len(seen) > 5


def test_chat_stream_sends_the_whole_history_each_time() -> None:
    body = {"user_input": "<Hi>", "history": {"internal": [["a", "b"]], "visible": [["a", "b"]]}, "mode": "instruct"}
    script: Script = lambda request: answer(request, [" You", " & me"], pause_s=0.1)  # noqa: E731
    with serving(script) as (_, base), connect(base + "/api/v1/chat-stream") as socket:
        socket.send(json.dumps(body))
        seen = events(socket)
    check_numbers(seen)
    last = seen[-2]["history"]
    assert last["internal"] == [["a", "b"], ["<Hi>", "You & me"]]
    assert last["visible"] == [["a", "b"], ["&lt;Hi&gt;", "You &amp; me"]]
    assert all(event["history"]["internal"][0] == ["a", "b"] for event in seen[:-1])


def test_nothing_to_continue_is_an_unchanged_history() -> None:
    with serving() as (host, base), connect(base + "/api/v1/chat-stream") as socket:
        socket.send(json.dumps({"user_input": "x", "history": {"internal": [], "visible": []}, "_continue": True}))
        seen = events(socket)
    assert seen[0]["history"] == {"internal": [], "visible": []}
    assert host.requests == []


def test_closing_the_socket_cancels() -> None:
    with serving(lambda request: [Started(5), Delta(0, "a", (TokenOutput(TokenId(1)),)), Pause(FOREVER)]) as (host, base):
        with connect(base + PATH) as socket:
            socket.send('{"prompt": "x"}')
            assert json.loads(socket.recv(timeout=5))["event"] == "text_stream"
        until(lambda: host.cancelled)


def test_a_client_that_vanishes_cancels() -> None:
    with serving(lambda request: [Pause(FOREVER)]) as (host, base), connect(base + PATH) as socket:
        socket.send('{"prompt": "x"}')
        until(lambda: host.requests)
        socket.socket.shutdown(SHUT_RDWR)  # no closing handshake, as when a laptop is shut
        until(lambda: host.cancelled)


def test_requests_of_one_socket_wait_for_one_another() -> None:
    with serving(lambda request: answer(request, ["x", "y"], pause_s=0.05)) as (host, base), connect(base + PATH) as socket:
        for i in range(4):
            socket.send(json.dumps({"prompt": str(i)}))
        for _ in range(4):
            assert "".join(event.get("text", "") for event in events(socket)) == "xy"
    assert [getattr(request.prompt, "text", None) for request in host.requests] == ["0", "1", "2", "3"]


def test_a_flood_of_requests_is_cut_off() -> None:
    def flood(socket: ClientConnection) -> None:
        for i in range(10_000):
            socket.send(json.dumps({"prompt": str(i)}))

    with serving(lambda request: [Pause(FOREVER)]) as (host, base):
        assert closed_by(base, flood)[0] == 1008
        until(lambda: len(host.cancelled) == len(host.requests))


def closed_by(base: str, do: Callable[[ClientConnection], None]) -> tuple[int, str]:
    """How the server closes the socket on which a client does something."""

    def until_closed(socket: ClientConnection) -> None:
        do(socket)
        while True:
            socket.recv(timeout=5)

    with connect(base + PATH) as socket, pytest.raises(ConnectionClosed) as caught:
        until_closed(socket)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def sending(message: str | bytes) -> Callable[[ClientConnection], None]:
    return lambda socket: socket.send(message)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("", "empty"),
        ("{", "not JSON"),
        ("[]", "object"),
        ("{}", "prompt"),
        ('{"prompt": "x", "temperature": NaN}', "NaN"),
        ('{"prompt": "x", "temperature": "hot"}', "temperature"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_what_is_wrong_closes_the_socket_with_a_sentence(message: str | bytes, says: str) -> None:
    with serving() as (_, base):
        code, reason = closed_by(base, sending(message))
    assert code == 1008
    assert says in reason


def test_failures_close_the_socket_without_json() -> None:
    with serving(
        failing(EngineError("The engine stopped, and this sentence is far too long for a frame. " * 3), Started(5))
    ) as (_, base):
        code, reason = closed_by(base, sending('{"prompt": "x"}'))
    assert code == 1011
    assert reason.startswith("The engine stopped")
    with serving(failing(Overloaded("Full.", 3))) as (_, base):
        assert closed_by(base, sending('{"prompt": "x"}')) == (1013, "Full.")


def test_a_fault_of_ours_tells_no_secret() -> None:
    with serving(lambda request: [RuntimeError("/home/secret")]) as (_, base):
        code, reason = closed_by(base, sending('{"prompt": "x"}'))
    assert code == 1011
    assert "secret" not in reason


def test_keys_in_a_header_in_the_address_or_in_the_message() -> None:
    with serving(authenticate=keyed, key_required=True) as (host, base):
        for headers, path, extra in (
            ({"Authorization": "Bearer friend"}, PATH, {}),
            ({"X-API-KEY": "friend"}, PATH, {}),
            ({}, PATH + "?key=friend", {}),
            ({}, PATH, {"Authorization": "Bearer friend"}),
            ({}, PATH, {"X-API-KEY": "friend"}),
        ):
            with connect(base + path, additional_headers=headers) as socket:
                socket.send(json.dumps({"prompt": "x", **extra}))
                assert events(socket)[-1]["event"] == "stream_end"
        assert {request.caller.user for request in host.requests} == {"friend"}
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(base + PATH, additional_headers={"Authorization": "Bearer wrong"}),
        ):
            pass
        assert refused.value.response.status_code == 403
        assert closed_by(base, sending('{"prompt": "x"}'))[0] == 1008
    assert len(host.requests) == 5


def test_a_foreign_page_cannot_open_one() -> None:
    with serving() as (_, base):
        with pytest.raises(InvalidStatus) as refused, connect(base + PATH, origin=Origin("https://evil.example")):
            pass
        assert refused.value.response.status_code == 403
        with connect(base + PATH, origin=Origin("http://localhost:8000")):
            pass


def test_a_path_that_is_not_there() -> None:
    with serving() as (_, base), pytest.raises(InvalidStatus), connect(base + "/api/v1/nothing"):
        pass


def test_while_nothing_comes_an_empty_update_keeps_the_socket_alive() -> None:
    heard = threading.Event()
    script: Script = lambda request: [Hold(heard), *answer(request, ["Hi"])]  # noqa: E731
    with serving(script, ping_s=0.1) as (_, base), connect(base + PATH) as socket:
        socket.send('{"prompt": "x"}')
        first = [json.loads(socket.recv(timeout=5)) for _ in range(3)]
        heard.set()
        seen = first + events(socket)
    check_numbers(seen)
    assert [event["text"] for event in first] == ["", "", ""]
    assert "".join(event.get("text", "") for event in seen) == "Hi"


def test_sockets_run_side_by_side() -> None:
    def script(request: Request) -> list[Any]:
        return answer(request, ["a", "b", "c", "d"], pause_s=0.3)

    with serving(script) as (_, base):
        texts: list[str] = []

        def one() -> None:
            with connect(base + PATH) as socket:
                socket.send('{"prompt": "x"}')
                texts.append("".join(event.get("text", "") for event in events(socket)))

        began = time.monotonic()
        for ended in [in_background(one) for _ in range(10)]:
            ended.result(30)
    assert texts == ["abcd"] * 10
    assert time.monotonic() - began < 8.0
