"""Ollama's own Python client against our front, with a host that plays what it is told."""

from __future__ import annotations

from collections.abc import Iterator

import ollama
import pytest

from publican.core.backend import ModelCard, PullProgress
from publican.core.errors import EngineError, ModelNotFound, Overloaded
from publican.core.events import Delta, Failed, Started
from tests.apis.fake_host import Pause, ScriptedHost
from tests.apis.running import app_of, keyed, served

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def host() -> ScriptedHost:
    return ScriptedHost()


@pytest.fixture
def client(host: ScriptedHost) -> Iterator[ollama.Client]:
    with (
        served(app_of(host, ping_s=0.05, commit_s=0.05)) as address,
        ollama.Client(host=f"http://{address}", timeout=60) as client,
    ):
        yield client


def test_streams_go_on_while_nothing_comes(host: ScriptedHost, client: ollama.Client) -> None:
    host.script = lambda request: [Started(1), Pause(0.3), Delta(0, "a"), Failed(EngineError("It broke."))]
    stream = client.chat("tiny", HI, stream=True)
    assert next(stream).message.content == "a"
    with pytest.raises(ollama.ResponseError, match="It broke"):
        next(stream)


def test_refusals(host: ScriptedHost, client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="not here") as missing:
        client.show("huge")
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="images are not supported"):
        client.generate("tiny", "x", images=[b"png"])
    host.refusal = Overloaded("Full; try again in 9 s.", 9)
    with pytest.raises(ollama.ResponseError, match="Full") as full:
        client.chat("tiny", HI)
    assert full.value.status_code == 503


def test_models_come_and_go(host: ScriptedHost, client: ollama.Client) -> None:
    steps = list(client.pull("other", stream=True))
    assert [(step.completed, step.total) for step in steps[1:3]] == [(50, 100), (100, 100)]
    assert steps[-1].status == "success"
    assert client.copy("tiny:latest", "second").status == "success"
    assert client.delete("tiny").status == "success"
    assert host.changed == [("pull", "other"), ("copy", "tiny", "second"), ("delete", "tiny")]
    host.pulling = (PullProgress("reading"), ModelNotFound("other"))
    with pytest.raises(ollama.ResponseError, match="not here"):
        list(client.pull("other", stream=True))


def test_a_model_is_loaded_and_unloaded_by_saying_nothing_to_it(host: ScriptedHost, client: ollama.Client) -> None:
    host.cards = (*host.cards, ModelCard("other", 0, False))
    assert client.generate("other").done_reason == "load"
    assert host.loaded == [("other", {})]
    assert client.generate("other", keep_alive=0).done_reason == "unload"
    assert client.ps().models == []


def test_only_an_admin_changes_what_is_here(host: ScriptedHost) -> None:
    host.cards = (*host.cards, ModelCard("other", 0, False))
    headers = {"Authorization": "Bearer friend"}
    with (
        served(app_of(host, keyed, key_required=True)) as address,
        ollama.Client(host=f"http://{address}", headers=headers, timeout=60) as friend,
    ):
        assert [model.model for model in friend.list().models] == ["tiny", "other"]
        for refused in (
            lambda: friend.pull("x"),
            lambda: friend.delete("tiny"),
            lambda: friend.copy("tiny", "x"),
            lambda: friend.generate("tiny", keep_alive=0),
            lambda: friend.generate("other"),
        ):
            with pytest.raises(ollama.ResponseError) as caught:
                refused()
            assert caught.value.status_code == 403
    assert (host.changed, host.loaded) == ([], [])


def test_a_vector_of_nothing_is_none(client: ollama.Client) -> None:
    assert client.embed("tiny", "").embeddings == []
    assert client.embed("tiny", []).embeddings == []
    assert len(client.embed("tiny", ["", "x"]).embeddings) == 2
