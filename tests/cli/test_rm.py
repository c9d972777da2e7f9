"""`publican rm`: what was named goes, and nothing goes unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from publican.core.errors import ModelNotFound, SettingsError
from tests.cli.pulling import invoke


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.gguf").write_bytes(b"x" * 5_000)
    return folder


def test_it_asks_and_nobody_answers(models: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--yes"):
        invoke("rm", None, tmp_path, "one")
    assert (models / "one.gguf").exists()


def test_what_was_named_goes(models: Path, tmp_path: Path) -> None:
    assert "one is gone" in invoke("rm", None, tmp_path, "one", "--yes").output
    assert [path.name for path in models.iterdir()] == ["two.gguf"]


def test_all_names_are_known_before_the_first_goes(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        invoke("rm", None, tmp_path, "one", "three", "--yes")
    assert (models / "one.gguf").exists()
    with pytest.raises(SettingsError, match="which model"):
        invoke("rm", None, tmp_path)


def test_unfinished_downloads(models: Path, tmp_path: Path) -> None:
    (models / ".pulling").mkdir()
    (models / ".pulling" / "x.part").write_bytes(b"\1" * (1 << 20))
    assert "1.0 MB are free again" in invoke("rm", None, tmp_path, "--unfinished", "-y").output
    assert not (models / ".pulling").exists()


def test_of_a_linked_folder_the_link_goes_and_that_is_said(models: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk2"
    disk.mkdir()
    for name in ("three", "four"):
        (disk / f"{name}.gguf").write_bytes(b"x" * 5_000)
    (models / "far").symlink_to(disk)
    with pytest.raises(SettingsError, match=r"only the link .*/far, through which far/four is found too"):
        invoke("rm", None, tmp_path, "three")
    said = invoke("rm", None, tmp_path, "three", "four", "three", "one", "--yes").output
    assert f"far/three is gone: the link {models / 'far'} was removed, and {disk} is as it was." in said
    assert "far/four is gone from the list with its link." in said
    assert sorted(path.name for path in disk.iterdir()) == ["four.gguf", "three.gguf"]
    assert [path.name for path in models.iterdir()] == ["two.gguf"]


def test_unfinished_downloads_are_all_that_is_forgotten(models: Path, tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("x")
    (models / ".pulling").symlink_to(letters)
    invoke("rm", None, tmp_path, "--unfinished", "-y")
    assert (letters / "dear.txt").exists()
