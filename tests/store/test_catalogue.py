"""The models folder: what lies there is what there is."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from publican.core.errors import ModelNotFound
from publican.store import catalogue
from publican.store.catalogue import find_model, list_models, model_files


def put(path: Path, num_bytes: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * num_bytes)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    put(root / "SmolLM2-135M-Instruct.Q4_1.gguf", 100)
    put(root / "SmolLM2-360M.gguf", 50)
    for part in (1, 2, 3):
        put(root / "big" / f"Big-70B-Q4-0000{part}-of-00003.gguf", 7)
    put(root / "big" / "mmproj-Big.gguf")
    put(root / "Org_Hermes" / "config.json", 5)
    put(root / "Org_Hermes" / "model.safetensors", 20)
    put(root / "org" / "repo" / "tiny.gguf")
    put(root / ".fetching-abc" / "half.gguf")
    put(root / "half.gguf.part")
    put(root / "empty" / "notes.txt")
    put(root / "a" / "b" / "c" / "d" / "too-deep.gguf")
    return root


def test_what_is_there(models: Path) -> None:
    listed = {model.name: model for model in list_models(models)}
    assert list(listed) == [
        "big/Big-70B-Q4",
        "org/repo/tiny",
        "Org_Hermes",
        "SmolLM2-135M-Instruct.Q4_1",
        "SmolLM2-360M",
    ]
    assert {name: model.num_bytes for name, model in listed.items()} == {
        "big/Big-70B-Q4": 21,
        "org/repo/tiny": 10,
        "Org_Hermes": 25,
        "SmolLM2-135M-Instruct.Q4_1": 100,
        "SmolLM2-360M": 50,
    }
    assert listed["Org_Hermes"].format == "safetensors"
    assert listed["big/Big-70B-Q4"].path.name == "Big-70B-Q4-00001-of-00003.gguf"
    assert len(model_files(listed["big/Big-70B-Q4"].path)) == 3


def test_what_goes_away_while_it_is_listed_breaks_nothing(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull in another process moves files in and out of the folders that are being looked at."""

    def with_one_that_went(path: Path) -> tuple[Path, ...]:
        if path.name.startswith("tiny"):
            raise FileNotFoundError(path)
        return (*model_files(path), path.with_name("gone.part"))

    monkeypatch.setattr(catalogue, "model_files", with_one_that_went)
    listed = {model.name: model.num_bytes for model in list_models(models)}
    assert listed == {
        "big/Big-70B-Q4": 21,
        "Org_Hermes": 25,
        "SmolLM2-135M-Instruct.Q4_1": 100,
        "SmolLM2-360M": 50,
    }


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("org/pulled:Q4_K_M", "org/pulled/m.Q4_K_M"),
        ("hf.co/org/pulled:q8_0", "org/pulled/m.Q8_0"),
        ("org/pulled/m.Q8_0.gguf", "org/pulled/m.Q8_0"),
        ("org/single", "org/single/s.Q4_0"),
        ("org/exl2:4.0bpw", "org/exl2@4.0bpw"),
        ("org/exl2", "org/exl2@4.0bpw"),
    ],
)
def test_models_are_called_as_they_were_pulled(tmp_path: Path, name: str, found: str) -> None:
    for file in (
        "pulled/m.Q4_K_M",
        "pulled/m.Q8_0",
        "pulled2/m.Q6_K",
        "single/s.Q4_0",
        "single-2/s.Q4_0",
        "single/x-mmproj-F16",
    ):
        put(tmp_path / "org" / f"{file}.gguf")
    put(tmp_path / "org" / "exl2@4.0bpw" / "config.json")
    put(tmp_path / "org" / "exl2@4.0bpw" / "output.safetensors")
    assert find_model(name, tmp_path).name == found
    with pytest.raises(ModelNotFound, match=r"org/pulled/m.Q4_K_M, org/pulled/m.Q8_0\.$"):
        find_model("org/pulled", tmp_path)


def test_no_folder_is_no_models(tmp_path: Path) -> None:
    assert list_models(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SmolLM2-360M", "SmolLM2-360M"),
        ("smollm2-360m.gguf", "SmolLM2-360M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
        ("smollm2-1", "SmolLM2-135M-Instruct.Q4_1"),
        ("tiny", "org/repo/tiny"),
        ("org/repo", "org/repo/tiny"),
        ("Big", "big/Big-70B-Q4"),
        ("org_h", "Org_Hermes"),
    ],
)
def test_finding_by_name(models: Path, name: str, found: str) -> None:
    assert find_model(name, models).name == found


@pytest.mark.parametrize("name", ["smollm2", "nothing", "", "..", "../models/SmolLM2-360M.gguf", "/etc/passwd"])
def test_not_found_or_not_unique(models: Path, name: str) -> None:
    with pytest.raises(ModelNotFound):
        find_model(name, models)


def test_an_ambiguous_name_lists_what_it_may_mean(models: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        find_model("smollm2", models)
    assert caught.value.available == ("SmolLM2-135M-Instruct.Q4_1", "SmolLM2-360M")
    assert caught.value.several
    assert "might mean several" in str(pickle.loads(pickle.dumps(caught.value)))


def test_a_path_only_where_it_is_allowed(models: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "mine.gguf", 3)
    path = str(tmp_path / "elsewhere" / "mine.gguf")
    with pytest.raises(ModelNotFound):
        find_model(path, models)
    found = find_model(path, models, allow_path=True)
    assert (found.name, found.num_bytes) == ("mine", 3)
    inside = find_model(str(models / "org" / "repo" / "tiny.gguf"), models, allow_path=True)
    assert inside.name == "org/repo/tiny"


def test_a_folder_that_leads_back_to_itself(models: Path) -> None:
    (models / "org" / "loop").symlink_to(models)
    names = [model.name for model in list_models(models)]
    assert "SmolLM2-360M" in names
    assert not any("loop" in name for name in names)


def test_links_that_lead_elsewhere_or_nowhere(models: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "far.gguf")
    (models / "link").symlink_to(tmp_path / "elsewhere")
    (models / "gone.gguf").symlink_to(tmp_path / "nothing.gguf")
    (models / "big" / "Big-70B-Q4-00002-of-00003.gguf").unlink()
    (models / "big" / "Big-70B-Q4-00002-of-00003.gguf").symlink_to(tmp_path / "nothing.gguf")
    listed = {model.name: model.num_bytes for model in list_models(models)}
    assert listed["link/far"] == 10
    assert "gone" not in listed
    assert listed["big/Big-70B-Q4"] == 14
