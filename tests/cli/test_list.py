"""`publican list`: names, sizes on the disk, where from; dropped files and unfinished downloads too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.pulling import invoke
from tests.store.fake_hub import FakeHub, running_hub
from tests.store.pull.models import folder, gguf, quant


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        yield hub


def test_pulled_dropped_and_linked(hub: FakeHub, tmp_path: Path) -> None:
    commit = hub.add("org/repo", {"m.Q8_0.gguf": quant("Q8_0")})
    invoke("pull", hub, tmp_path, "org/repo")
    models = tmp_path / "models"
    (models / "dropped.Q4_0.gguf").write_bytes(gguf(1 << 20))
    (models / "linked.gguf").symlink_to(models / "dropped.Q4_0.gguf")
    (models / ".pulling").mkdir()
    (models / ".pulling" / "x.part").write_bytes(b"\1" * (1 << 20))
    text = invoke("list_models", hub, tmp_path).output
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert f"org/repo@main ({commit[:12]})" in rows["org/repo/m.Q8_0"]
    assert "GGUF Q4_0" in rows["dropped.Q4_0"]
    assert "(a link)" in rows["linked"]
    assert "in 3 models; 1.0 MB of unfinished downloads" in text
    body = json.loads(invoke("list_models", hub, tmp_path, "--json").output)
    by_name = {model["name"]: model for model in body["models"]}
    assert by_name["org/repo/m.Q8_0"]["commit"] == commit
    assert by_name["linked"]["disk_bytes"] == 0
    assert by_name["dropped.Q4_0"]["disk_bytes"] >= 1 << 20


def test_a_folder_model(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/hf", folder(), revision="4.0bpw")
    invoke("pull", hub, tmp_path, "org/hf@4.0bpw")
    assert "safetensors" in invoke("list_models", hub, tmp_path).output
    (model,) = json.loads(invoke("list_models", hub, tmp_path, "--json").output)["models"]
    assert (model["name"], model["revision"]) == ("org/hf@4.0bpw", "4.0bpw")


def test_nothing(tmp_path: Path) -> None:
    assert "No models are in" in invoke("list_models", None, tmp_path).output
