"""What people see while they wait, and when it breaks, in every dialect: signs of life, spaces, errors in their own words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from publican.apis.app import all_routes
from publican.core.errors import EngineError
from publican.core.events import Delta, Queued, Started
from tests.apis.fake_host import Pause, ScriptedHost, answer, failing, token
from tests.apis.framing import Lines, parser_of
from tests.apis.running import app_of, ask
from tests.apis.sse_parser import SseParser

CHAT = [{"role": "user", "content": "x"}]
ANTHROPIC = {"model": "tiny", "max_tokens": 5, "messages": CHAT}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "x"},
    "/v1/chat/completions": {"messages": CHAT},
    "/v1/responses": {"input": "x"},
    "/v1/messages": ANTHROPIC,
    "/completion": {"prompt": "x"},
    "/infill": {"input_prefix": "x"},
    "/generate": {"prompt": "x"},
    "/api/generate": {"model": "tiny", "prompt": "x"},
    "/api/chat": {"model": "tiny", "messages": CHAT},
    "/": {"inputs": "x", "parameters": {"details": True}},
}
"""Where one field says whether the answer is streamed."""

ALWAYS = {
    "/generate_stream": {"inputs": "x"},
    "/api/extra/generate/stream": {"prompt": "x"},
}
"""Where it always is."""

NEVER = {
    "/api/v1/generate": {"prompt": "x"},
    "/api/v1/chat": {"user_input": "x"},
    "/api/latest/generate": {"prompt": "x"},
    "/v1/internal/logits": {"prompt": "x"},
}
"""Where it never is."""

STREAMS = {**{path: {**body, "stream": True} for path, body in BODIES.items()}, **ALWAYS}
WHOLE = {**{path: {**body, "stream": False} for path, body in BODIES.items()}, **NEVER}
ERROR = EngineError("The card fell off; put it back.")


def test_every_route_that_generates_is_here() -> None:
    """A route that takes sampling parameters generates; some are the same as another under a second name."""
    same = {"/chat/completions", "/completions", "/invocations"}
    known = {*STREAMS, *WHOLE, *same}
    assert {route.path for route in all_routes() if route.sampling} <= known


@pytest.mark.parametrize("path", STREAMS)
def test_who_waits_hears_at_once_and_the_answer_comes_after_it(path: str) -> None:
    host = ScriptedHost(lambda request: [Queued(3, 12.4), Pause(0.12), *answer(request, ["Hel", "lo"])])
    got = ask(app_of(host, ping_s=0.05, commit_s=30.0), "POST", path, STREAMS[path])
    assert got.status_code == 200
    first = got.content[:20]
    assert first.startswith((b": queued position=3", b":queued position=3", b" ", b"\n", b"event: ping")), first
    plain = _values(path, got.content)
    assert "Hel" in json.dumps(plain)


@pytest.mark.parametrize("path", STREAMS)
def test_a_break_in_mid_stream_is_said_in_the_caller_s_own_words(path: str) -> None:
    tokens = [Delta(0, text, (token(at, text, -0.5, 1),)) for at, text in enumerate(["Hel", "lo"])]
    host = ScriptedHost(failing(ERROR, Started(5), *tokens, Pause(0)))
    got = ask(app_of(host), "POST", path, STREAMS[path])
    assert got.status_code == 200
    values = _values(path, got.content)
    assert "Hel" in json.dumps(values[:-1])
    assert str(ERROR).rstrip(".") in json.dumps(values[-1])
    assert "error" in json.dumps(values[-1])


@pytest.mark.parametrize("path", STREAMS)
def test_a_refusal_before_the_stream_has_a_status(path: str) -> None:
    got = ask(app_of(ScriptedHost(failing(ERROR))), "POST", path, STREAMS[path])
    assert got.status_code >= 400
    assert str(ERROR).rstrip(".") in got.text


@pytest.mark.parametrize("path", WHOLE)
def test_a_long_wait_is_spaces_before_the_same_answer(path: str) -> None:
    at_once = ask(app_of(ScriptedHost()), "POST", path, WHOLE[path])
    slow = ScriptedHost(lambda request: [Pause(0.2), *answer(request, ["Hello", " world", "!"])])
    late = ask(app_of(slow, patience_s=0.05, ping_s=0.05), "POST", path, WHOLE[path])
    assert at_once.status_code == late.status_code == 200
    assert late.text.startswith("  ")
    assert _shape(late.json()) == _shape(at_once.json())


@pytest.mark.parametrize("path", WHOLE)
def test_a_break_after_the_first_space_is_the_dialect_s_error(path: str) -> None:
    slow = ScriptedHost(failing(ERROR, Pause(0.15)))
    late = ask(app_of(slow, patience_s=0.05, ping_s=0.05), "POST", path, WHOLE[path])
    assert late.status_code == 200
    assert late.text.startswith(" ")
    assert str(ERROR).rstrip(".") in json.dumps(late.json())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"logprobs": 2}),
        ("/v1/chat/completions", {"logprobs": True, "top_logprobs": 2}),
        ("/v1/responses", {"top_logprobs": 2}),
        ("/completion", {"n_probs": 2}),
        ("/generate_stream", {"parameters": {"details": True}}),
    ],
)
def test_one_event_for_each_token_where_log_probabilities_are_asked_for(path: str, body: dict[str, Any]) -> None:
    """However many come at once: clients take the text of an event for its token."""
    got = ask(
        app_of(ScriptedHost(lambda request: answer(request, ["a1", "b2", "c3"]))), "POST", path, {**STREAMS[path], **body}
    )
    assert got.status_code == 200, got.text
    lines = [line for line in got.text.split("\n") if "delta" in line or "response." not in line]
    for text in ("a1", "b2", "c3"):
        (own, *_) = [line for line in lines if f'"{text}"' in line]
        assert not any(f'":"{other}"' in own for other in ("a1", "b2", "c3") if other != text)


def _values(path: str, data: bytes) -> list[Any]:
    if path in ("/generate_stream", "/"):
        return [json.loads(line[5:]) for line in data.decode("ascii").split("\n") if line.startswith("data:")]
    parser = parser_of(path)
    assert isinstance(parser, SseParser | Lines)
    parser.feed(data)
    parser.end()
    return parser.values


def _shape(value: Any) -> Any:
    """What an answer is made of, without its numbers, names and times."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else type(value).__name__
