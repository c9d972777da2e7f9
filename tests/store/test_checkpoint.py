"""Opening what people have: a GGUF file, a split one, a Hugging Face folder; and what they have by mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from publican.core.errors import ModelFileError, PublicanError, UnsupportedModel
from publican.store.checkpoint import model_name, open_checkpoint
from tests.store.gguf_bytes import RawTensor, build, tiny_llama
from tests.store.safetensors_bytes import build as build_safetensors

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 16,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}


def folder(path: Path, config: Any = CONFIG, **files: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    tensor = {"model.embed_tokens.weight": ("F32", [16, 8], b"\0" * 512)}
    (path / "model.safetensors").write_bytes(build_safetensors(tensor))
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def test_default_model(default_model: Path) -> None:
    checkpoint = open_checkpoint(default_model)
    assert checkpoint.name == "SmolLM2-135M-Instruct.Q4_1"
    assert checkpoint.format == "gguf"
    assert len(checkpoint.tensors) == 272
    assert checkpoint.spec is not None
    assert (checkpoint.spec.architecture, checkpoint.spec.num_layers, checkpoint.spec.context_len) == ("llama", 30, 8192)


def test_a_gguf_file_and_the_folder_around_it(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(tiny_llama())
    (tmp_path / "mmproj-tiny.gguf").write_bytes(b"not read")
    assert open_checkpoint(tmp_path / "tiny.gguf") == open_checkpoint(tmp_path)
    assert open_checkpoint(tmp_path).path == tmp_path / "tiny.gguf"


def test_a_folder_and_the_file_in_it(tmp_path: Path) -> None:
    model = folder(tmp_path / "Tiny-Llama")
    checkpoint = open_checkpoint(model)
    assert (checkpoint.name, checkpoint.format, checkpoint.path) == ("Tiny-Llama", "safetensors", model)
    assert checkpoint.spec is not None
    assert checkpoint.metadata == CONFIG
    assert open_checkpoint(model / "model.safetensors") == checkpoint


def test_an_architecture_that_native_does_not_describe(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", CONFIG | {"model_type": "made_up", "architectures": ["MadeUpForCausalLM"]})
    assert open_checkpoint(model).spec is None


def test_the_quantisers_settings(tmp_path: Path) -> None:
    settings = {"bits": 4, "group_size": 128}
    assert open_checkpoint(folder(tmp_path / "a")).quantization == {}
    assert open_checkpoint(folder(tmp_path / "b", quantize_config=settings)).quantization == settings
    inside = CONFIG | {"quantization_config": {"quant_method": "gptq"}}
    assert open_checkpoint(folder(tmp_path / "c", inside, quantize_config=settings)).quantization == {"quant_method": "gptq"}
    with pytest.raises(ModelFileError, match="quantization_config"):
        open_checkpoint(folder(tmp_path / "d", CONFIG | {"quantization_config": 4}))


@pytest.mark.parametrize(
    "changed",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": "thirty"},
        {"num_hidden_layers": None},
        {"num_hidden_layers": True},
        {"num_hidden_layers": {}},
        {"hidden_size": -8},
        {"hidden_size": 1e300},
        {"hidden_size": 10**18},
        {"num_attention_heads": 0},
        {"num_attention_heads": 10**9},
        {"max_position_embeddings": 10**18},
        {"rms_norm_eps": "small"},
        {"rms_norm_eps": float("nan")},
        {"rope_theta": float("inf")},
        {"rope_theta": -1},
        {"rope_scaling": "linear"},
        {"rope_scaling": {"type": "linear", "factor": 0}},
    ],
    ids=str,
)
def test_configs_that_lie(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(PublicanError) as caught:
        open_checkpoint(folder(tmp_path / "m", CONFIG | changed))
    assert isinstance(caught.value, ModelFileError | UnsupportedModel)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("config", "says"),
    [("", "not valid JSON"), ("[]", "not a JSON object"), ('{"a":1,"a":2}', "twice"), ('{"a":' + "[" * 10_000, "too deep")],
)
def test_configs_that_are_none(tmp_path: Path, config: str, says: str) -> None:
    with pytest.raises(ModelFileError, match=says):
        open_checkpoint(folder(tmp_path / "m", config))


def test_a_huge_config_is_not_read(tmp_path: Path) -> None:
    model = folder(tmp_path / "m")
    with (model / "config.json").open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(ModelFileError, match="4,294,967,296 bytes"):
        open_checkpoint(model)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"general.type": "adapter", "general.architecture": "llama"}, "LoRA"),
        ({"general.type": "mmproj"}, "projector"),
        ({"general.architecture": "clip"}, "projector"),
        ({"general.type": "imatrix"}, "importance matrix"),
    ],
)
def test_gguf_files_that_are_no_models(tmp_path: Path, metadata: dict[str, Any], says: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(build(metadata, [RawTensor(b"t", (4,), 0, 0)], b"\0" * 16))
    with pytest.raises(UnsupportedModel, match=says):
        open_checkpoint(path)


def test_a_vocabulary_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "v.gguf").write_bytes(build({"general.architecture": "llama"}))
    with pytest.raises(UnsupportedModel, match="no model"):
        open_checkpoint(tmp_path / "v.gguf")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "holds no model"),
        (["pytorch_model.bin", "config.json"], "pickles"),
        (["model.safetensors"], r"no config\.json"),
        (["a.gguf", "b.gguf"], r"2 GGUF models \(a.gguf, b.gguf\)"),
    ],
)
def test_folders_without_one_model(tmp_path: Path, files: list[str], says: str) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelFileError, match=says):
        open_checkpoint(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no file"):
        open_checkpoint(tmp_path / "none.gguf")


@pytest.mark.parametrize(
    ("path", "name"),
    [("m/a.b.Q4_1.gguf", "a.b.Q4_1"), ("m/big-00002-of-00003.gguf", "big"), ("m/Org_Model", "Org_Model"), ("m/x.GGUF", "x")],
)
def test_names(path: str, name: str) -> None:
    assert model_name(Path(path)) == name
