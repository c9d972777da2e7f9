"""Answers that are asked about while they are made: check, abort, log probabilities, numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import pytest

from publican.core.events import ChoiceFinished, Delta, Finished, FinishReason, Started, Usage
from publican.core.request import Request
from tests.apis.fake_host import Hold, ScriptedHost, Step, token
from tests.apis.running import app_of, in_background, keyed, served, until


class Paused:
    """A host whose answers say one word and then wait, each for its own prompt."""

    def __init__(self) -> None:
        self.released: dict[str, threading.Event] = {}
        self.host = ScriptedHost(self._script)

    def _script(self, request: Request) -> Iterator[Step]:
        text = request.prompt.text  # type: ignore[union-attr]
        hold = self.released.setdefault(text, threading.Event())
        yield Started(3)
        yield Delta(0, f"{text}-one", (token(1, f"{text}-one", -0.5, request.wanted.logprobs),))
        yield Hold(hold)
        yield Delta(0, " two", (token(2, " two", -0.25, request.wanted.logprobs),))
        yield ChoiceFinished(0, FinishReason.STOP, "\n")
        yield Finished(Usage(3, 2, 1, 0.0, 0.5, 0.25))


@pytest.fixture
def paused() -> Paused:
    return Paused()


@pytest.fixture
def http(paused: Paused) -> Iterator[httpx.Client]:
    with served(app_of(paused.host)) as address, httpx.Client(base_url=f"http://{address}", timeout=10) as client:
        yield client
        for released in paused.released.values():
            released.set()


def begin(http: httpx.Client, prompt: str, **body: Any) -> Future[httpx.Response]:
    return in_background(http.post, "/api/v1/generate", json={"prompt": prompt, "max_length": 8, **body})


def said(http: httpx.Client, **body: Any) -> str:
    text: str = http.post("/api/extra/generate/check", json=body).json()["results"][0]["text"]
    return text


def test_what_an_answer_has_said_so_far(paused: Paused, http: httpx.Client) -> None:
    answer = begin(http, "a", genkey="K1", logprobs=True)
    until(lambda: said(http, genkey="K1") == "a-one")
    assert said(http, genkey="K2") == ""
    assert said(http) == "", "an answer with a name is not told without it"
    found = http.post("/api/extra/last_logprobs", json={"genkey": "K1"}).json()["logprobs"]
    assert (found["tokens"], found["token_logprobs"]) == (["a-one"], [-0.5])
    paused.released["a"].set()
    assert answer.result(20).json()["results"][0]["text"] == "a-one two"
    assert said(http, genkey="K1") == "a-one two"
    assert http.get("/api/extra/last_logprobs").json() == {"logprobs": None}


def test_a_nameless_answer_is_told_while_it_is_the_only_one(paused: Paused, http: httpx.Client) -> None:
    first = begin(http, "a")
    until(lambda: http.get("/api/extra/generate/check").json()["results"][0]["text"] == "a-one")
    second = begin(http, "b")
    until(lambda: len(paused.released) == 2)
    assert said(http) == ""
    assert http.post("/api/extra/abort").json() == {"success": "false", "done": "true"}
    for released in paused.released.values():
        released.set()
    assert [first.result(20).status_code, second.result(20).status_code] == [200, 200]
    assert said(http) == "b-one two"
    assert paused.host.ended == []


def test_abort_ends_the_named_answer_and_no_other(paused: Paused, http: httpx.Client) -> None:
    answers = [begin(http, name, genkey=name) for name in ("a", "b")]
    until(lambda: said(http, genkey="a") and said(http, genkey="b"))
    assert http.post("/api/extra/abort", json={"genkey": "b"}).json() == {"success": "true", "done": "true"}
    ended = next(request.id for request in paused.host.requests if request.prompt.text == "b")  # type: ignore[union-attr]
    assert paused.host.ended == [ended]
    assert http.post("/api/extra/abort", json={"genkey": "c"}).json()["success"] == "false"
    for released in paused.released.values():
        released.set()
    assert [answer.result(20).status_code for answer in answers] == [200, 200]
    assert http.post("/api/extra/abort", json={"genkey": "b"}).json()["success"] == "false", "it has ended"


def test_an_answer_whose_caller_hung_up_has_ended(paused: Paused, http: httpx.Client) -> None:
    body = {"prompt": "a", "max_length": 8}
    with http.stream("POST", "/api/extra/generate/stream", json=body) as stream:
        next(stream.iter_bytes())
    until(lambda: paused.host.cancelled)
    until(lambda: http.post("/api/extra/abort").json()["success"] == "false")
    assert paused.host.ended == []


def test_the_numbers_of_the_last_answer(paused: Paused, http: httpx.Client) -> None:
    assert http.get("/api/extra/perf").json()["stop_reason"] == -1
    paused.released["a"] = threading.Event()
    paused.released["a"].set()
    http.post("/api/v1/generate", json={"prompt": "a", "max_length": 8})
    perf = http.get("/api/extra/perf").json()
    assert (perf["last_token_count"], perf["last_input_count"], perf["stop_reason"]) == (2, 3, 2)
    assert (perf["last_process_speed"], perf["last_eval_speed"], perf["total_gens"]) == (4.0, 8.0, 1)
    assert (perf["queue"], perf["idle"]) == (3, 0)


def test_nobody_is_told_of_another_s_answers(paused: Paused) -> None:
    with (
        served(app_of(paused.host, keyed, key_required=True)) as address,
        httpx.Client(base_url=f"http://{address}", timeout=10) as http,
    ):
        friend, owner = {"authorization": "Bearer friend"}, {"authorization": "Bearer owner"}
        body = {"prompt": "a", "max_length": 8, "genkey": "K"}
        answer = in_background(http.post, "/api/v1/generate", json=body, headers=friend)
        until(lambda: paused.released)
        for path in ("check", "abort"):
            other = http.post(f"/api/extra/{'generate/' if path == 'check' else ''}{path}", json={"genkey": "K"}, headers=owner)
            assert other.json() in ({"results": [{"text": ""}]}, {"success": "false", "done": "true"})
        assert http.get("/api/latest/model").json() == {"result": "koboldcpp/protected-model"}
        assert http.get("/api/latest/model", headers=friend).json() == {"result": "koboldcpp/tiny"}
        paused.released["a"].set()
        assert answer.result(20).status_code == 200
