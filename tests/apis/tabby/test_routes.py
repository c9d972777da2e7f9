"""What TabbyAPI's routes change, who may, and how they say that something goes on."""

from __future__ import annotations

from publican.core.backend import ModelCard, PullProgress
from publican.core.errors import OutOfMemory
from tests.apis.fake_host import Pause, ScriptedHost
from tests.apis.running import app_of, ask, keyed
from tests.apis.sse_parser import parse_sse

FRIEND, OWNER = {"x-api-key": "friend"}, {"x-admin-key": "owner"}


def test_a_friend_sees_what_is_loaded_and_an_admin_what_could_be() -> None:
    cards = (ModelCard("tiny", 2_048, True), ModelCard("huge", 4_096, False))
    app = app_of(ScriptedHost(cards=cards), keyed)
    assert [one["id"] for one in ask(app, "GET", "/v1/model/list", headers=FRIEND).json()["data"]] == ["tiny"]
    assert [one["id"] for one in ask(app, "GET", "/v1/model/list", headers=OWNER).json()["data"]] == ["tiny", "huge"]


def test_what_a_key_may_do() -> None:
    app = app_of(ScriptedHost(), keyed)
    assert ask(app, "GET", "/v1/auth/permission", headers=FRIEND).json() == {"permission": "api"}
    assert ask(app, "GET", "/v1/auth/permission", headers=OWNER).json() == {"permission": "admin"}
    refused = ask(app, "POST", "/v1/model/load", {"name": "other"}, FRIEND)
    assert refused.status_code == 403
    assert refused.json()["detail"]


def test_loading_reaches_the_loader_with_its_options() -> None:
    host = ScriptedHost()
    answer = ask(app_of(host), "POST", "/v1/model/load", {"model_name": "other", "max_seq_len": 512, "cache_mode": "Q4"})
    assert [value["status"] for value in parse_sse(answer.content).values] == ["processing", "processing", "finished"]
    assert host.loaded == [("other", {"max_seq_len": 512, "cache_mode": "Q4"})]


def test_a_load_that_fails_at_once_has_its_status() -> None:
    host = ScriptedHost(refusal=OutOfMemory("It needs 9 GB and 4 are free; load a smaller one."))
    answer = ask(app_of(host), "POST", "/v1/model/load", {"model_name": "other"})
    assert answer.status_code == 503
    assert "9 GB" in answer.json()["detail"]


def test_a_long_load_is_not_silence() -> None:
    host = ScriptedHost(load_s=0.3)
    answer = ask(app_of(host, commit_s=0.05, ping_s=0.05), "POST", "/v1/model/load", {"model_name": "other"})
    assert parse_sse(answer.content).comments


def test_no_model_is_an_error() -> None:
    assert ask(app_of(ScriptedHost(cards=())), "GET", "/v1/model").status_code == 404


def test_a_download_waits_until_the_model_is_here() -> None:
    host = ScriptedHost(pulling=(PullProgress("fetching"), Pause(0.2), PullProgress("done")))
    answer = ask(app_of(host, patience_s=0.05, ping_s=0.05), "POST", "/v1/download", {"repo_id": "o/m", "revision": "r"})
    assert answer.json() == {"download_path": "o/m"}
    assert answer.text.startswith(" ")
    assert host.changed == [("pull", "o/m@r")]


def test_the_templates_that_a_request_may_name() -> None:
    assert ask(app_of(ScriptedHost()), "GET", "/v1/template/list").json() == {"object": "list", "data": ["chatml", "default"]}
    assert ask(app_of(ScriptedHost(cards=())), "GET", "/v1/template/list").json()["data"] == []


def test_what_a_model_runs_with_is_what_was_decided() -> None:
    details = {"cache_len": 8_192, "cache_type": "q8", "chunk_len": 512, "draft": "small"}
    host = ScriptedHost(cards=(ModelCard("tiny", 2_048, True, 7, details),))
    said = ask(app_of(host), "GET", "/v1/model").json()["parameters"]
    assert (said["cache_size"], said["cache_mode"], said["chunk_size"]) == (8_192, "Q8", 512)
    assert (said["draft"]["id"], said["draft"]["parameters"]) == ("small", None)
