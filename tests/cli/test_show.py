"""`publican show`: models that are here, and models at the hub of which nothing is downloaded but headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from publican.core.errors import ModelFileError, ModelNotFound, UnsupportedModel
from tests.cli.pulling import invoke
from tests.store.fake_hub import FakeHub, running_hub
from tests.store.gguf_bytes import RawTensor, build
from tests.store.pull.models import QUANTS, folder, gguf, quant, weights
from tests.store.safetensors_bytes import build as safetensors


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as hub:
        yield hub


def test_the_default_model(default_model: Path, tmp_path: Path) -> None:
    text = invoke("show", None, tmp_path, str(default_model)).output
    for part in (
        "GGUF 3, Q4_1", "134.5 million", "5.74 per weight", "8,192 tokens", "30, 576 wide", "9 heads, 3 for keys and values",
        "BPE (smollm), 49,152 tokens", "368 characters", "apache-2.0", "runs here  yes", "98.4 MB",
    ):  # fmt: skip
        assert part in text
    body = json.loads(invoke("show", None, tmp_path, str(default_model), "--json").output)
    assert (body["num_parameters"], body["num_kv_heads"], body["quantization"]["name"]) == (134_515_008, 3, "Q4_1")
    template = invoke("show", None, tmp_path, str(default_model), "--template").output
    assert template.startswith("{% for message in messages %}")


def test_a_repository_of_quants_costs_one_header(hub: FakeHub, tmp_path: Path) -> None:
    big = {f"m.{name}.gguf": quant(name) + b"\0" * 3_000_000 for name in QUANTS}
    commit = hub.add("org/repo", big, licence="llama2")
    text = invoke("show", hub, tmp_path, "org/repo", "--users", "2").output
    assert f"main at {commit}" in text
    assert "llama2" in text
    assert "context for 2 users" in text
    for name in QUANTS:
        assert name in text
    assert hub.sent_bytes("cdn") <= 1 << 20, "of nine megabytes"
    assert not (tmp_path / "models").exists()


def test_a_folder_model_at_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", folder(model__safetensors=weights(2_000_000)))
    body = json.loads(invoke("show", hub, tmp_path, "org/repo", "--json").output)
    assert (body["container"], body["quantization"]["name"], body["architecture"]) == ("safetensors", "plain f32", "llama")
    assert (body["num_layers"], body["context_len"], body["licence"]) == (1, 64, "apache-2.0")
    assert body["chat_template"] == "{{ messages }}"
    assert "tokenizers (LlamaTokenizerFast)" in body["tokenizer"]
    assert {file["name"] for file in body["files"]} >= {"model.safetensors", "config.json"}
    assert "modeling_evil.py" not in {file["name"] for file in body["files"]}
    assert hub.sent_bytes("cdn") < 300_000


def test_gptq_at_the_hub_is_told_by_a_few_bytes_of_data(hub: FakeHub, tmp_path: Path) -> None:
    tensors = {
        "model.layers.0.q.qweight": ("I32", [8, 64], b"\0" * 2048),
        "model.layers.0.q.qzeros": ("I32", [1, 8], b"\x77" * 32),
        "model.layers.0.q.scales": ("F16", [1, 64], b"\0" * 128),
        "model.layers.0.q.g_idx": ("I32", [64], b"\0" * 256),
        "model.embed_tokens.weight": ("F32", [16, 8], b"\0" * 512),
    }
    hub.add("org/gptq", folder(model__safetensors=safetensors(tensors)))
    body = json.loads(invoke("show", hub, tmp_path, "org/gptq", "--json").output)
    assert body["quantization"] == {
        "name": "GPTQ", "bits": "4", "group size": "none (one for each column)", "act-order": "no",
        "zero points": "symmetric, stored less one (version 1)",
    }  # fmt: skip


def test_what_does_not_run_says_what_to_pull_instead(hub: FakeHub, tmp_path: Path) -> None:
    lora = safetensors({"base_model.model.q_proj.lora_A.weight": ("F32", [4], b"\0" * 16)})
    hub.add("org/lora", {"adapter_model.safetensors": lora, "adapter_config.json": b"{}"})
    assert "It is a LoRA adapter" in invoke("show", hub, tmp_path, "org/lora").output
    hqq = safetensors({"model.layers.0.q.W_q": ("U8", [4, 4], b"\0" * 16), "model.layers.0.q.scale": ("F16", [1], b"\0\0")})
    hub.add("org/hqq", folder(model__safetensors=hqq))
    with pytest.raises(ModelFileError, match="token embeddings"):
        invoke("show", hub, tmp_path, "org/hqq")
    hub.add("org/old", {"pytorch_model.bin": b"\x80"})
    with pytest.raises(UnsupportedModel, match="pickles"):
        invoke("show", hub, tmp_path, "org/old")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"tjgg\3\0\0\0" + b"\0" * 60, "GGJT file from before August 2023"),
        (b"\x80\2}q" + b"\0" * 60, "pickle"),
        (b"<html>no</html>" + b" " * 60, "web page"),
        (b"", "empty"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(ModelFileError, match=says):
        invoke("show", None, tmp_path, str(tmp_path / "m.gguf"))


def test_orders_to_the_terminal_are_not_passed_on(tmp_path: Path) -> None:
    keys = {
        "general.architecture": "ev\x1b[2Jil",
        "general.license": "\x1b]0;owned\x07 [bold]x[/]",
        "tokenizer.chat_template": "x",
    }
    path = tmp_path / "m.gguf"
    path.write_bytes(build(keys, [RawTensor(b"a.weight\x1b[31m", (4,), 0, 0)], b"\0" * 32))
    text = invoke("show", None, tmp_path, str(path)).output
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]x[/]" in text


def test_a_name_that_is_nowhere(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.gguf").write_bytes(gguf())
    assert "tiny" in invoke("show", None, tmp_path, "ti").output
    with pytest.raises(ModelNotFound, match="here are: tiny"):
        invoke("show", None, tmp_path, "huge")
