"""Models on the disk by their headers; what is no language model too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publican.core.errors import ModelFileError, PublicanError
from publican.store.inspect.local import inspect_path
from publican.store.inspect.outline import outline
from tests.store.gguf_bytes import RawTensor, build, tiny_llama
from tests.store.safetensors_bytes import build as safetensors
from tests.store.test_checkpoint import CONFIG, folder


def test_a_folder(tmp_path: Path) -> None:
    templates = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    path = folder(tmp_path / "Tiny", CONFIG | {"max_position_embeddings": 64}, tokenizer_config={"chat_template": templates})
    found = inspect_path(path)
    assert (found.kind, found.form.name, found.container, found.chat_template) == (
        "language model",
        "plain f32",
        "safetensors",
        "D",
    )
    (path / "chat_template.jinja").write_text("J")
    assert inspect_path(path).chat_template == "J"
    shape = outline(found.checkpoint)
    assert (shape.num_layers, shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.vocab_size) == (1, 2, 1, 4, 16)
    assert (shape.context_len, shape.native_context_len, shape.rope) == (64, 64, "")


@pytest.mark.parametrize(
    ("scaling", "native", "context", "rope"),
    [
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}, 16, 64, "yarn, 4 times"),
        ({"rope_type": "linear", "factor": 2.0}, 64, 64, "linear, 2 times"),
        (None, 64, 64, ""),
    ],
)
def test_contexts_native_and_stretched(tmp_path: Path, scaling: Any, native: int, context: int, rope: str) -> None:
    shape = outline(inspect_path(folder(tmp_path / "x", CONFIG | {"rope_scaling": scaling})).checkpoint)
    assert (shape.native_context_len, shape.context_len, shape.rope) == (native, context, rope)


def test_architectures_that_native_has_no_words_for(tmp_path: Path) -> None:
    keys = {
        "general.architecture": "strange",
        "strange.block_count": 7,
        "strange.embedding_length": 64,
        "strange.attention.head_count": [4, 8],
        "strange.context_length": 4096,
        "strange.expert_count": 16,
        "general.base_model.count": 1,
        "general.base_model.0.repo_url": "https://huggingface.co/org/base",
    }
    path = tmp_path / "strange.gguf"
    path.write_bytes(build(keys, [RawTensor(b"a.weight", (4,), 0, 0)], b"\0" * 32))
    found = inspect_path(path)
    assert found.checkpoint.spec is None
    assert found.base_models == ("org/base",)
    shape = outline(found.checkpoint)
    assert (shape.num_layers, shape.num_heads, shape.head_dim, shape.context_len, shape.num_experts) == (7, 8, 8, 4096, 16)
    config = {"model_type": "strange", "text_config": {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 8}}
    shape = outline(inspect_path(folder(tmp_path / "hf", config)).checkpoint)
    assert (shape.num_layers, shape.num_heads, shape.head_dim) == (3, 2, 4)


def test_an_adapter_is_inspected_and_named(tmp_path: Path) -> None:
    home = tmp_path / "lora"
    home.mkdir()
    (home / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    (home / "adapter_model.safetensors").write_bytes(safetensors({"x.lora_A.weight": ("F32", [4], b"\0" * 16)}))
    assert inspect_path(home).kind == "LoRA adapter"
    assert inspect_path(home / "adapter_model.safetensors").kind == "LoRA adapter"


def test_split_files_count_as_one(tmp_path: Path) -> None:
    first = tiny_llama(**{"split.no": 0, "split.count": 2, "split.tensors.count": 12})
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(first)
    with pytest.raises(ModelFileError, match="missing"):
        inspect_path(tmp_path / "m-00001-of-00002.gguf")
    second = build({"split.no": 1, "split.count": 2}, [RawTensor(b"more", (4,), 0, 0)], b"\0" * 32)
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(second)
    found = inspect_path(tmp_path / "m-00001-of-00002.gguf")
    assert len(found.checkpoint.tensors) == 12
    assert [file.name for file in found.files] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*CONFIG, "text_config", "quantization_config", "rope_scaling", "sliding_window"]), JSON),
    st.data(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_configurations_end_in_an_inspection_or_a_sentence(
    tmp_path: Path, changes: dict[str, Any], data: st.DataObject
) -> None:
    home = folder(tmp_path / "x", CONFIG | changes)
    (home / "tokenizer_config.json").write_text(
        json.dumps(data.draw(st.dictionaries(st.sampled_from(["chat_template"]), JSON)))
    )
    try:
        found = inspect_path(home)
    except PublicanError:
        return
    assert outline(found.checkpoint) is not None


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_gguf_headers_end_in_an_inspection_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(tiny_llama())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 900))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.gguf").write_bytes(raw)
    try:
        found = inspect_path(tmp_path / "m.gguf")
    except PublicanError:
        return
    assert outline(found.checkpoint) is not None
