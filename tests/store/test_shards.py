"""Folders of safetensors: one file, shards with and without an index, missing ones, and names that lead elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from publican.core.errors import ModelFileError
from publican.store.shards import INDEX, read_folder
from tests.store.safetensors_bytes import build


def shard(path: Path, *names: str) -> None:
    path.write_bytes(build({name: ("F32", [1], b"\0\0\0\0") for name in names}))


def index(folder: Path, weight_map: object) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 8}, "weight_map": weight_map}))


@pytest.fixture
def two(tmp_path: Path) -> Path:
    shard(tmp_path / "model-00001-of-00002.safetensors", "a")
    shard(tmp_path / "model-00002-of-00002.safetensors", "b")
    return tmp_path


TWO = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}


def test_a_single_file_of_any_name(tmp_path: Path) -> None:
    shard(tmp_path / "gptq_model-4bit-128g.safetensors", "a", "b")
    assert set(read_folder(tmp_path)) == {"a", "b"}


def test_second_copies_beside_the_model_are_not_read(tmp_path: Path) -> None:
    shard(tmp_path / "model.safetensors", "a")
    shard(tmp_path / "consolidated.safetensors", "b")
    shard(tmp_path / "adapter_model.safetensors", "c")
    assert set(read_folder(tmp_path)) == {"a"}


def test_shards_with_an_index(two: Path) -> None:
    index(two, TWO)
    tensors = read_folder(two)
    assert {name: tensor.file.name for name, tensor in tensors.items()} == TWO


def test_shards_without_an_index(two: Path) -> None:
    assert set(read_folder(two)) == {"a", "b"}


def test_an_index_left_over_from_the_original(two: Path) -> None:
    index(two, {"x": "pytorch-00001-of-00009.safetensors"})
    assert set(read_folder(two)) == {"a", "b"}


@pytest.mark.parametrize("with_index", [True, False])
def test_missing_shards_are_named(two: Path, with_index: bool) -> None:
    (two / "model-00001-of-00002.safetensors").unlink()
    if with_index:
        index(two, TWO)
    with pytest.raises(ModelFileError, match=r"missing: model-00001-of-00002\.safetensors"):
        read_folder(two)


def test_a_tensor_that_the_index_promises_is_not_there(two: Path) -> None:
    index(two, TWO | {"c": "model-00002-of-00002.safetensors"})
    with pytest.raises(ModelFileError, match="'c'"):
        read_folder(two)


def test_a_tensor_in_two_shards(two: Path) -> None:
    shard(two / "model-00002-of-00002.safetensors", "a", "b")
    with pytest.raises(ModelFileError, match="two files"):
        read_folder(two)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..\\x.safetensors", "x.bin", ""]
)
def test_an_index_that_leads_out_of_the_folder(two: Path, name: str) -> None:
    index(two, TWO | {"c": name})
    with pytest.raises(ModelFileError, match="no file of its folder"):
        read_folder(two)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, "x"])
def test_an_index_without_a_table(two: Path, weight_map: object) -> None:
    index(two, weight_map)
    with pytest.raises(ModelFileError, match="table of files"):
        read_folder(two)


def test_an_index_that_is_not_json(two: Path) -> None:
    (two / INDEX).write_text("<html>")
    with pytest.raises(ModelFileError, match="not valid JSON"):
        read_folder(two)


def test_several_models_in_one_folder(tmp_path: Path) -> None:
    shard(tmp_path / "one.safetensors", "a")
    shard(tmp_path / "two.safetensors", "a")
    with pytest.raises(ModelFileError, match=r"several models \(one.safetensors, two.safetensors\)"):
        read_folder(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no \*\.safetensors"):
        read_folder(tmp_path)


def test_an_index_of_files_of_which_none_is_here(tmp_path: Path) -> None:
    index(tmp_path, TWO)
    with pytest.raises(ModelFileError, match="Of the 2 files"):
        read_folder(tmp_path)
