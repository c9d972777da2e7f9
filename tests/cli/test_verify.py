"""`publican verify`: right, wrong, missing, unknown; and wrong made right by its bad megabytes alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from publican.core.errors import ModelFileError
from publican.store.manifest import MANIFEST
from tests.cli.pulling import invoke
from tests.store.fake_hub import FakeHub, running_hub
from tests.store.pull.models import folder, gguf

MIB = 1 << 20


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        yield hub


def test_bad_pieces_are_found_and_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    data = gguf() + os.urandom(8 * MIB)
    hub.add("org/repo", {"m.Q4_0.gguf": data})
    invoke("pull", hub, tmp_path, "org/repo")
    assert "as it should be" in invoke("verify", hub, tmp_path).output
    path = tmp_path / "models" / "org" / "repo" / "m.Q4_0.gguf"
    with path.open("r+b") as file:
        for at in (2 * MIB, 5 * MIB):
            file.seek(at)
            file.write(b"rotten")
    result = invoke("verify", hub, tmp_path, "m")
    assert result.exit_code == 1
    assert "is not what was fetched in 2 MiB of it" in result.output
    hub.add("org/repo", {"m.Q4_0.gguf": os.urandom(9 * MIB)})  # the branch has moved on; the commit has not
    before = hub.sent_bytes("cdn")
    result = invoke("verify", hub, tmp_path, "--repair")
    assert result.exit_code == 0, result.output
    assert hub.sent_bytes("cdn") - before == 2 * MIB
    assert path.read_bytes() == data
    assert "as it should be" in invoke("verify", hub, tmp_path).output


def test_missing_and_cut_files(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", folder())
    invoke("pull", hub, tmp_path, "org/repo")
    home = tmp_path / "models" / "org" / "repo"
    (home / "tokenizer.json").unlink()
    os.truncate(home / "model.safetensors", 5_000)
    result = invoke("verify", hub, tmp_path)
    assert result.exit_code == 1
    assert "tokenizer.json" in result.output
    assert "is missing" in result.output
    assert "is not what was fetched" in result.output
    assert invoke("verify", hub, tmp_path, "--repair").exit_code == 0
    assert invoke("verify", hub, tmp_path).exit_code == 0


def test_repairing_one_file_leaves_the_others_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", folder())
    invoke("pull", hub, tmp_path, "org/repo")
    home = tmp_path / "models" / "org" / "repo"
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    (home / "config.json").write_bytes(b"{}" + before["config.json"][2:])
    assert invoke("verify", hub, tmp_path, "--repair").exit_code == 0
    assert {path.name: path.read_bytes() for path in home.iterdir() if path.name != MANIFEST} == {
        name: data for name, data in before.items() if name != MANIFEST
    }


def test_a_file_from_somewhere_on_the_web_is_mended_from_there(hub: FakeHub, tmp_path: Path) -> None:
    data = hub.loose["m.gguf"] = gguf(3_500_000)
    invoke("pull", hub, tmp_path, f"{hub.cdn_url}/loose/m.gguf")
    assert "as it should be" in invoke("verify", hub, tmp_path).output
    path = tmp_path / "models" / "127.0.0.1" / "m.gguf"
    path.write_bytes(data[:-1] + b"?")
    assert invoke("verify", hub, tmp_path).exit_code == 1
    hub.seen.clear()
    assert invoke("verify", hub, tmp_path, "--repair").exit_code == 0
    assert path.read_bytes() == data
    assert hub.sent_bytes("cdn /loose") < 2_000_000


def test_a_repair_that_fails_leaves_the_model_where_it_is(hub: FakeHub, tmp_path: Path) -> None:
    data = hub.loose["m.gguf"] = gguf(3_500_000)
    said = invoke("pull", hub, tmp_path, f"{hub.cdn_url}/loose/m.gguf").output
    assert "will hold it to the hash" in said
    path = tmp_path / "models" / "127.0.0.1" / "m.gguf"
    damaged = data[:-1] + b"?"
    path.write_bytes(damaged)
    hub.loose["m.gguf"] = data[:-1] + b"!"  # the same size, another tag
    with pytest.raises(ModelFileError, match="another file now"):
        invoke("verify", hub, tmp_path, "--repair")
    assert path.read_bytes() == damaged
    del hub.loose["m.gguf"]
    with pytest.raises(ModelFileError, match="404"):
        invoke("verify", hub, tmp_path, "--repair")
    assert path.read_bytes() == damaged
    assert not list((tmp_path / "models" / ".pulling").glob("*.part"))
    hub.loose["m.gguf"] = data
    assert invoke("verify", hub, tmp_path, "--repair").exit_code == 0
    assert path.read_bytes() == data


def test_what_nobody_vouches_for_must_at_least_open(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "dropped.gguf").write_bytes(gguf())
    result = invoke("verify", None, tmp_path)
    assert (result.exit_code, "its SHA-256 is" in result.output) == (0, True)
    os.truncate(models / "dropped.gguf", len(gguf()) - 100)
    result = invoke("verify", None, tmp_path)
    assert (result.exit_code, "is truncated" in result.output) == (1, True)


def test_the_default_model_is_known_by_heart(default_model: Path, tmp_path: Path) -> None:
    assert "as it should be" in invoke("verify", None, tmp_path, str(default_model)).output
