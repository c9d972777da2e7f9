"""What lies beside language models on the hub is told from them, and what to do about it is said."""

from __future__ import annotations

from typing import Any

import pytest

from publican.store.recognise.instead import instead, instead_of_pickle
from publican.store.recognise.kind import Kind, kind_of_folder, kind_of_gguf

LAYER = "blk.0.attn_q.weight"


@pytest.mark.parametrize(
    ("metadata", "names", "kind"),
    [
        ({"general.architecture": "llama"}, [LAYER], "language model"),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 0}, [LAYER], "language model"),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3}, [LAYER], "embedding model"),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 4}, [LAYER], "reranker or classifier"),
        ({"general.architecture": "bert"}, [LAYER], "embedding model"),
        ({"general.architecture": "bert"}, [LAYER, "cls.weight"], "reranker or classifier"),
        ({"general.architecture": "clip"}, ["v.blk.0.attn_q.weight"], "projector"),
        ({"general.type": "mmproj"}, [LAYER], "projector"),
        ({}, ["mm.0.weight"], "projector"),
        ({"general.type": "adapter", "general.architecture": "llama"}, ["x.lora_a"], "LoRA adapter"),
        ({"general.architecture": "llama"}, ["blk.0.attn_q.weight.lora_a"], "LoRA adapter"),
        ({"general.type": "imatrix"}, ["x.in_sum2"], "importance matrix"),
        ({"general.architecture": "llama"}, [], "vocabulary"),
        ({"general.architecture": "t5"}, ["enc.blk.0.x", "dec.blk.0.x"], "translator or encoder-decoder"),
        ({"general.architecture": 7, "general.type": ["x"]}, [LAYER], "language model"),
    ],
)
def test_gguf(metadata: dict[str, Any], names: list[str], kind: Kind) -> None:
    assert kind_of_gguf(metadata, names) == kind


@pytest.mark.parametrize(
    ("config", "tensors", "files", "kind"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, ["model.embed_tokens.weight"], [], "language model"),
        ({}, ["base_model.model.model.layers.0.q_proj.lora_A.weight"], ["adapter_config.json"], "LoRA adapter"),
        ({}, [], ["adapter_config.json"], "LoRA adapter"),
        ({"architectures": ["BertModel"]}, ["encoder.layer.0.x"], ["modules.json"], "embedding model"),
        ({"architectures": ["XLMRobertaModel"]}, ["encoder.layer.0.x"], [], "embedding model"),
        ({"architectures": ["BertForSequenceClassification"]}, ["classifier.weight"], [], "reranker or classifier"),
        (
            {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
            [],
            [],
            "translator or encoder-decoder",
        ),
        ({"model_type": "whisper"}, [], [], "image or sound model"),
        ({}, [], ["model_index.json"], "image or sound model"),
        ({"architectures": "LlamaForCausalLM"}, ["model.norm.weight"], [], "language model"),
    ],
)
def test_folders(config: dict[str, Any], tensors: list[str], files: list[str], kind: Kind) -> None:
    assert kind_of_folder(config, tensors, files) == kind


def test_what_to_pull_instead() -> None:
    assert instead("language model", None) == ""
    assert "mistralai/Mistral-7B-v0.1" in instead("LoRA adapter", None, ("mistralai/Mistral-7B-v0.1",))
    assert instead("embedding model", None) == ""
    refused = instead("embedding model", "The architecture is 'bert'; pull a GGUF of it.")
    assert refused == "It turns texts into vectors, and not here: The architecture is 'bert'; pull a GGUF of it."
    text = instead("language model", "The model is quantised as HQQ; pull it as GGUF.", ("org/base",))
    assert text == "The model is quantised as HQQ; pull it as GGUF (it is made from org/base)."
    assert "model-GGUF" in instead_of_pickle("org/model", ("meta/base",))
