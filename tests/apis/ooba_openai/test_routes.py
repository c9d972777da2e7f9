"""What ``/v1/internal`` changes: what is loaded, what runs; and who may."""

from __future__ import annotations

import pytest

from publican.core.request import Caller
from tests.apis.fake_host import ScriptedHost
from tests.apis.running import app_of, ask, keyed


def test_loading_and_unloading_reach_the_host_with_their_options() -> None:
    host = ScriptedHost()
    app = app_of(host)
    loaded = ask(app, "POST", "/v1/internal/model/load", {"model_name": "other", "args": {"n_ctx": 4_096}})
    assert loaded.json() == "OK"
    assert host.loaded == [("other", {"n_ctx": 4_096})]
    assert ask(app, "GET", "/v1/internal/model/info").json()["model_name"] == "other"
    ask(app, "POST", "/v1/internal/model/unload")
    assert ask(app, "GET", "/v1/internal/model/info").json()["model_name"] == "None"


def test_loading_keeps_its_connection_alive() -> None:
    host = ScriptedHost(load_s=0.3)
    answer = ask(app_of(host, patience_s=0.05, ping_s=0.05), "POST", "/v1/internal/model/load", {"model_name": "other"})
    assert answer.text.endswith('"OK"')
    assert answer.text.startswith("  ")


@pytest.mark.parametrize("path", ["model/load", "model/unload", "lora/load", "lora/unload"])
def test_a_friend_changes_nothing(path: str) -> None:
    host = ScriptedHost()
    answer = ask(app_of(host, keyed), "POST", f"/v1/internal/{path}", {"model_name": "x"}, {"x-api-key": "friend"})
    assert answer.status_code == 403
    assert host.loaded == []


def test_stopping_ends_what_the_caller_has_and_nobody_else_s() -> None:
    host = ScriptedHost()
    ask(app_of(host, keyed), "POST", "/v1/internal/stop-generation", {}, {"x-api-key": "friend"})
    assert host.stopped == [Caller("friend")]


@pytest.mark.parametrize("top", [0, 257, "5"])
def test_how_many_logits(top: object) -> None:
    answer = ask(app_of(ScriptedHost()), "POST", "/v1/internal/logits", {"prompt": "x", "top_logits": top})
    assert answer.status_code == 400
    assert "top_logits" in answer.json()["detail"]
