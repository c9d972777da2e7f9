"""Models by the names that people type, and what is said to whoever has none yet, or mistypes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from publican.cli.stored import find_here, find_or_only
from publican.core.errors import ModelFileError, ModelNotFound, PublicanError, SettingsError
from publican.store.default_model import DEFAULT_MODEL
from tests.cli.pulling import invoke, run
from tests.store.fake_hub import running_hub
from tests.store.gguf_bytes import tiny_llama


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def put(models: Path, *names: str) -> None:
    for name in names:
        (models / name).write_bytes(tiny_llama())


def test_the_default_model_by_its_short_name(models: Path) -> None:
    put(models, "a.gguf", DEFAULT_MODEL.file_name)
    assert find_here("default", models).path.name == DEFAULT_MODEL.file_name
    put(models, "default.gguf")
    assert find_here("Default", models).path.name == "default.gguf"
    with pytest.raises(ModelNotFound):
        find_here("defualt", models)


def test_the_only_one_is_meant_where_none_is_named(models: Path) -> None:
    with pytest.raises(ModelFileError, match="publican pull default"):
        find_or_only(None, models)
    put(models, "a.gguf")
    assert find_or_only(None, models).name == "a"
    with pytest.raises(ModelFileError, match="publican pull default"):
        find_or_only("default", models)
    put(models, "b.gguf")
    with pytest.raises(SettingsError, match=r"Several models are here \(a, b\); say which one"):
        find_or_only(None, models)
    put(models, DEFAULT_MODEL.file_name)
    assert find_or_only(None, models).path.name == DEFAULT_MODEL.file_name


@pytest.mark.parametrize("name", ["show", "fit", "verify", "rm"])
def test_every_command_says_how_to_come_by_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="publican pull default"):
        invoke(name, None, tmp_path, "default")
    with pytest.raises(SettingsError, match="is empty"):
        invoke(name, None, tmp_path, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "defualt"], "'defualt' is no model here, where no model is yet, none at the hub"),
        (["fit", "/nowhere/m.gguf"], "There is no file or folder '/nowhere/m.gguf'"),
        (["show", "./m.gguf"], "There is no file or folder 'm.gguf'"),
        (["fit", "llama-2-7b", "--gpu-split", "14,x"], "numbers of GB with commas"),
        (["list", "--models-dir", sys.executable], "is a file"),
    ],
)
def test_what_is_mistyped_is_said_in_a_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    module = {"list": "list_models"}.get(words[0], words[0])
    with pytest.raises(PublicanError) as caught:
        invoke(module, None, tmp_path, *words[1:])
    assert said in str(caught.value)


def test_of_several_that_are_meant_these_are_named(models: Path, tmp_path: Path) -> None:
    put(models, "many-1.gguf", "many-2.gguf", "other.gguf")
    with pytest.raises(ModelNotFound, match="here are: many-1, many-2"):
        invoke("fit", None, tmp_path, "man")


def test_nothing_there(tmp_path: Path) -> None:
    assert "nothing to verify" in invoke("verify", None, tmp_path).output
    assert "publican pull default" in invoke("list_models", None, tmp_path).output


def test_exit_statuses_and_near_misses_of_commands(models: Path, tmp_path: Path) -> None:
    (models / "bad.gguf").write_bytes(b"hello, this is text")
    with running_hub() as hub:
        code, _, err = run(hub, tmp_path, "verify")
        assert (code, "1 of 1 models" in err, "--repair" in err) == (1, True, False)
        code, _, err = run(hub, tmp_path, "pul", "default")
        assert (code, "Did you mean 'pull'?" in err) == (2, True)
        code, _, err = run(hub, tmp_path, "xyzzy")
        assert (code, "No such command 'xyzzy'" in err, "mean" in err) == (2, True, False)


def test_what_is_linked_is_said_to_be(models: Path, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(tiny_llama())
    assert "as a link to" in invoke("pull", None, tmp_path, str(tmp_path / "m.gguf")).output
