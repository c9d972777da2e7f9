"""The blocking routes of the 2023 API."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from publican.core.backend import ModelCard
from publican.core.errors import ModelFileError, ModelNotFound, OutOfMemory
from publican.core.request import TextPrompt
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask, keyed

MODEL = "/api/v1/model"


def post(host: ScriptedHost, path: str, body: Any) -> httpx.Response:
    return ask(app_of(host), "POST", "/api/v1/" + path, body)


def test_generate() -> None:
    host = ScriptedHost()
    assert post(host, "generate", {"prompt": "Hi", "temperature": "0.7"}).json() == {"results": [{"text": "Hello world!"}]}
    assert host.requests[0].dialect == "ooba"
    assert host.requests[0].sampling.temperature == 0.7


def test_answers_are_not_to_be_kept() -> None:
    for path, body in (("generate", {"prompt": "Hi"}), ("token-count", {"prompt": "x"}), ("stop-stream", {})):
        assert post(ScriptedHost(), path, body).headers["cache-control"].startswith("no-store")


def test_token_count_counts_the_beginning() -> None:
    assert post(ScriptedHost(), "token-count", {"prompt": "four"}).json() == {"results": [{"tokens": 5}]}


@pytest.mark.parametrize("content", [b"{}", b"", b"not json"])
def test_stop_stream_stops_what_the_caller_runs(content: bytes) -> None:
    host = ScriptedHost()
    answer = ask(app_of(host, keyed), "POST", "/api/v1/stop-stream", content=content, headers={"x-api-key": "friend"})
    assert answer.json() == {"results": "success"}
    assert [caller.user for caller in host.stopped] == ["friend"]


def test_the_model() -> None:
    host = ScriptedHost()
    assert ask(app_of(host), "GET", MODEL).json() == {"result": "tiny"}
    assert ask(app_of(ScriptedHost(cards=())), "GET", MODEL).json() == {"result": "None"}
    for body in ({}, {"action": "dance"}):
        assert post(host, "model", body).json()["result"] in ("tiny", post(host, "model", {"action": "info"}).json()["result"])


def test_model_info() -> None:
    info = post(ScriptedHost(), "model", {"action": "info"}).json()["result"]
    assert info["model_name"] == "tiny"
    assert info["lora_names"] == []
    assert info["shared.settings"]["truncation_length"] == 2_048
    assert isinstance(info["shared.args"], dict)


def test_load_list_and_unload() -> None:
    host = ScriptedHost(cards=(ModelCard("tiny", 2_048, True), ModelCard("other", 0, False)))
    assert post(host, "model", {"action": "list"}).json() == {"result": ["tiny", "other"]}
    loaded = post(host, "model", {"action": "load", "model_name": "other", "args": {"n_ctx": 4_096}}).json()
    assert loaded["result"]["model_name"] == "other"
    assert host.loaded == [("other", {"n_ctx": 4_096})]
    assert post(host, "model", {"action": "unload"}).json()["result"]["model_name"] is None


@pytest.mark.parametrize(
    ("error", "status"),
    [(ModelNotFound("x", ("tiny",)), 404), (ModelFileError("Cut short."), 500), (OutOfMemory("2 GB short."), 503)],
)
def test_a_failed_load_says_why(error: Exception, status: int) -> None:
    answer = post(ScriptedHost(refusal=error), "model", {"action": "load", "model_name": "x"})
    assert answer.status_code == status
    assert answer.json() == {"error": {"message": str(error)}, "result": str(error)}


def test_only_an_admin_changes_what_is_loaded() -> None:
    host = ScriptedHost()
    for action in ("load", "unload"):
        body = {"action": action, "model_name": "x"}
        refused = ask(app_of(host, keyed), "POST", MODEL, body, {"x-api-key": "friend"})
        assert refused.status_code == 403
    assert host.cards
    assert not host.loaded
    assert ask(app_of(host, keyed), "POST", MODEL, {"action": "unload"}, {"x-api-key": "owner"}).status_code == 200


def test_chat_forgets_what_does_not_fit() -> None:
    """The fake counts characters; 300 of context, 100 of them for the answer."""
    host = ScriptedHost(cards=(ModelCard("tiny", 300, True),))
    turns = [[f"question {i}", f"answer {i}"] for i in range(30)]
    body = {"user_input": "last", "history": {"internal": turns, "visible": turns}, "max_new_tokens": 100, "context": "C."}
    answer = post(host, "chat", body).json()
    assert len(answer["results"][0]["history"]["internal"]) == 31
    prompt = host.requests[0].prompt
    assert isinstance(prompt, TextPrompt)
    assert prompt.text.startswith("C.\nYou: question ")
    assert prompt.text.endswith("You: last\nAI:")
    assert 150 < len(prompt.text) < 200
    assert len(asyncio.run(host.tokenize(prompt))) <= 200


def test_what_cannot_be_done_is_said_where_clients_of_the_time_look() -> None:
    answer = post(ScriptedHost(), "generate", {"prompt": "x", "temperature": "hot"})
    assert answer.status_code == 400
    assert answer.json()["result"] == answer.json()["error"]["message"] == "temperature: must be a number, got 'hot'."
