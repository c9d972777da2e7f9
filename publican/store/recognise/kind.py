"""What a model is for, before anything is asked about how it is stored: a language model, or one of the things that lie
beside them on the hub. By tensors and metadata first; by a configuration only where these do not tell. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Kind = Literal[
    "language model",
    "embedding model",
    "reranker or classifier",
    "LoRA adapter",
    "projector",
    "importance matrix",
    "vocabulary",
    "translator or encoder-decoder",
    "image or sound model",
]

RUNNABLE: frozenset[Kind] = frozenset({"language model", "embedding model"})
"""What an executor may be found for."""

_GGUF_TYPES: Mapping[str, Kind] = {"adapter": "LoRA adapter", "mmproj": "projector", "imatrix": "importance matrix"}
_GGUF_ENCODERS = frozenset({"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert",
                            "gemma-embedding", "eurobert"})  # fmt: skip
_POOLING_NONE, _POOLING_RANK = 0, 4
_LORA_ENDINGS = (".lora_A.weight", ".lora_B.weight", ".lora_A", ".lora_B", ".lora_a", ".lora_b", ".lora_embedding_A")
_ENCODERS = ("Bert", "Roberta", "XLMRoberta", "MPNet", "Electra", "Deberta", "NomicBert", "ModernBert", "DistilBert")
_OTHER_SENSES = frozenset({"whisper", "clip", "siglip", "vit", "wav2vec2", "musicgen", "bark", "encodec", "sam", "dinov2"})


def kind_of_gguf(metadata: Mapping[str, Any], names: Iterable[str]) -> Kind:
    """What a GGUF file with this header and these tensors is."""
    architecture = _text(metadata.get("general.architecture"))
    names = list(names)
    said = _GGUF_TYPES.get(_text(metadata.get("general.type")))
    if architecture == "clip" or any(name.startswith(("v.blk.", "mm.")) for name in names[:64]):
        return "projector"
    if said is not None:
        return said
    if any(name.endswith(_LORA_ENDINGS) for name in names):
        return "LoRA adapter"
    if not names:
        return "vocabulary"
    if any(name.startswith("enc.") for name in names) and any(name.startswith("dec.") for name in names):
        return "translator or encoder-decoder"
    pooling = metadata.get(f"{architecture}.pooling_type", _POOLING_NONE)
    if pooling == _POOLING_RANK or any(name.startswith("cls.") for name in names):
        return "reranker or classifier"
    if architecture in _GGUF_ENCODERS or pooling != _POOLING_NONE:
        return "embedding model"
    return "language model"


def is_gguf_encoder(metadata: Mapping[str, Any]) -> bool:
    """Whether each token of a text looks at all of it: such a model makes vectors and writes nothing."""
    return _text(metadata.get("general.architecture")) in _GGUF_ENCODERS


def kind_of_folder(config: Mapping[str, Any], tensors: Iterable[str], files: Iterable[str]) -> Kind:
    """What a folder with this `config.json` (empty for none), these tensors and these files is."""
    names, files = list(tensors), set(files)
    if any(name.endswith(_LORA_ENDINGS) for name in names) or (not config and "adapter_config.json" in files):
        return "LoRA adapter"
    if "model_index.json" in files or _text(config.get("model_type")) in _OTHER_SENSES:
        return "image or sound model"
    listed = config.get("architectures")
    classes = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    if any(name.endswith(("ForSequenceClassification", "ForTokenClassification", "RewardModel")) for name in classes):
        return "reranker or classifier"
    if config.get("is_encoder_decoder") is True:
        return "translator or encoder-decoder"
    if {"modules.json", "config_sentence_transformers.json"} & files:
        return "embedding model"
    has_output = any("lm_head." in name or name.startswith("output.") for name in names)
    if any(name.startswith(_ENCODERS) for name in classes) and not has_output:
        return "embedding model"
    return "language model"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
