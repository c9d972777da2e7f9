"""Deleting models and giving them second names: what goes, what stays, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from publican.core.errors import InvalidParameter, Unsupported
from publican.store.catalogue import StoredModel, find_model, list_models
from publican.store.manifest import MANIFEST, Manifest, ManifestFile, read_manifest, write_manifest
from publican.store.remove import behind_link, link_model, remove_model


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    put(root / "one.gguf")
    put(root / "org" / "repo" / "two.gguf")
    for part in (1, 2):
        put(root / "org" / f"big-0000{part}-of-00002.gguf")
    put(root / "hf" / "config.json")
    put(root / "hf" / "model.safetensors")
    return root


def names(folder: Path) -> list[str]:
    return [model.name for model in list_models(folder)]


def test_what_else_lies_in_a_folder_stays(folder: Path) -> None:
    put(folder / "hf" / "small.gguf")
    put(folder / "hf" / "sub" / "other.gguf")
    remove_model(find_model("hf", folder), folder)
    assert names(folder) == ["hf/small", "hf/sub/other", "one", "org/big", "org/repo/two"]


def test_the_manifest_forgets_what_goes_and_goes_with_the_last(folder: Path) -> None:
    put(folder / "org" / "repo" / "three.gguf")
    entry = ManifestFile("x", 1, None)
    write_manifest(folder / "org" / "repo", Manifest("org/repo", "", files={"two.gguf": entry, "three.gguf": entry}))
    remove_model(find_model("org/repo/two", folder), folder)
    manifest = read_manifest(folder / "org" / "repo")
    assert manifest is not None
    assert set(manifest.files) == {"three.gguf"}
    remove_model(find_model("org/repo/three", folder), folder)
    assert not (folder / "org" / "repo").exists()


def test_a_file_goes_and_its_empty_folders_with_it(folder: Path) -> None:
    remove_model(find_model("org/repo/two", folder), folder)
    assert not (folder / "org" / "repo").exists()
    assert (folder / "org").exists()
    assert names(folder) == ["hf", "one", "org/big"]


def test_all_parts_of_a_split_model_go_and_nothing_else(folder: Path) -> None:
    remove_model(find_model("org/big", folder), folder)
    assert names(folder) == ["hf", "one", "org/repo/two"]


def test_a_folder_goes_whole(folder: Path) -> None:
    remove_model(find_model("hf", folder), folder)
    assert not (folder / "hf").exists()
    assert folder.is_dir()


def test_a_model_from_elsewhere_is_not_ours_to_delete(folder: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere.gguf")
    with pytest.raises(Unsupported, match="by hand"):
        remove_model(StoredModel("elsewhere", path, "gguf", 1, 0.0), folder)
    assert path.exists()


@pytest.mark.parametrize(("name", "new"), [("one", "uno"), ("one", "my/uno"), ("hf", "hf-2"), ("org/repo/two", "zwei.q4")])
def test_a_second_name_is_found_and_goes_alone(folder: Path, name: str, new: str) -> None:
    before = names(folder)
    link_model(find_model(name, folder), folder, new)
    linked = find_model(new, folder)
    assert linked.path.resolve() == find_model(name, folder).path.resolve()
    remove_model(linked, folder)
    assert names(folder) == before


@pytest.mark.parametrize("new", ["../out", "/etc/x", "a/../b", "", ".hidden", "a//b", "x\ny", "one", "a/b/c/d", "x" * 300])
def test_names_that_are_none(folder: Path, new: str) -> None:
    with pytest.raises(InvalidParameter):
        link_model(find_model("one", folder), folder, new)


def test_a_split_model_has_one_name(folder: Path) -> None:
    with pytest.raises(Unsupported):
        link_model(find_model("org/big", folder), folder, "big")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Models outside the models folder."""
    put(tmp_path / "disk2" / "a.gguf")
    put(tmp_path / "disk2" / "sub" / "b.gguf")
    put(tmp_path / "disk2" / "hf" / "config.json")
    put(tmp_path / "disk2" / "hf" / "model.safetensors")
    return tmp_path / "disk2"


def everything(root: Path) -> set[Path]:
    return set(root.rglob("*"))


@pytest.mark.parametrize("name", ["far/a", "far/sub/b", "far/hf"])
def test_of_a_linked_folder_only_the_link_goes(folder: Path, elsewhere: Path, name: str) -> None:
    before, there = names(folder), everything(elsewhere)
    (folder / "far").symlink_to(elsewhere)
    model = find_model(name, folder)
    assert model.link == folder / "far"
    assert {other.name for other in behind_link(model, folder)} == {"far/a", "far/sub/b", "far/hf"} - {name}
    with pytest.raises(Unsupported, match="by hand"):
        remove_model(model, folder)
    remove_model(model, folder, with_others=True)
    assert names(folder) == before
    assert everything(elsewhere) == there
    assert not (folder / "far").is_symlink()


def test_a_linked_folder_of_one_model_in_a_folder_of_links(folder: Path, elsewhere: Path) -> None:
    there = everything(elsewhere)
    (folder / "links").mkdir()
    (folder / "links" / "one").symlink_to(elsewhere / "sub")
    remove_model(find_model("links/one/b", folder), folder)
    assert everything(elsewhere) == there
    assert not (folder / "links").exists()


def test_links_inside_a_folder_model_and_links_that_are_parts(folder: Path, elsewhere: Path) -> None:
    for part in (1, 2):
        put(elsewhere / f"split-0000{part}-of-00002.gguf")
        (folder / f"split-0000{part}-of-00002.gguf").symlink_to(elsewhere / f"split-0000{part}-of-00002.gguf")
    (folder / "hf" / "model-2.safetensors").symlink_to(elsewhere / "hf" / "model.safetensors")
    (folder / "hf" / "sub").symlink_to(elsewhere / "sub")
    there = everything(elsewhere)
    remove_model(find_model("split", folder), folder)
    assert not list(folder.glob("split*"))
    remove_model(find_model("hf", folder), folder)
    assert everything(elsewhere) == there
    assert "hf" not in names(folder)


def test_a_linked_manifest_is_not_written_through(folder: Path, elsewhere: Path) -> None:
    put(folder / "org" / "repo" / "three.gguf")
    entry = ManifestFile("x", 1, None)
    write_manifest(elsewhere, Manifest("org/repo", "", files={"two.gguf": entry, "three.gguf": entry}))
    text = (elsewhere / MANIFEST).read_text()
    (folder / "org" / "repo" / MANIFEST).symlink_to(elsewhere / MANIFEST)
    remove_model(find_model("org/repo/two", folder), folder)
    remove_model(find_model("org/repo/three", folder), folder)
    assert (elsewhere / MANIFEST).read_text() == text
    assert not (folder / "org" / "repo").exists()


def test_a_models_folder_that_is_a_link_itself_is_as_any(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    remove_model(find_model("one", tmp_path / "link"), tmp_path / "link")
    assert "one" not in names(folder)


def test_a_path_that_leads_out_is_not_ours_to_delete(folder: Path, elsewhere: Path) -> None:
    path = folder / ".." / elsewhere.name / "a.gguf"
    with pytest.raises(Unsupported, match="by hand"):
        remove_model(StoredModel("a", path, "gguf", 1, 0.0), folder)
    assert path.exists()
