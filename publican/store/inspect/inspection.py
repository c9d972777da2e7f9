"""`Inspection`: a model as its headers describe it, wherever they were read. Pure; made by `local` and `remote`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from publican.core.model import Checkpoint
from publican.store.gguf import Gguf
from publican.store.recognise.form import Form
from publican.store.recognise.gguf import recognise_gguf
from publican.store.recognise.hf import recognise
from publican.store.recognise.kind import RUNNABLE, Kind, kind_of_folder, kind_of_gguf
from publican.store.spec_gguf import spec_from_gguf
from publican.store.spec_hf import spec_from_hf
from publican.store.transfer.hashing import Digest


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a model; `digest` is None where nobody has said."""

    name: str
    num_bytes: int
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is to say about a model without loading it.

    Attributes:
        container: with its version: ``GGUF 3``, ``safetensors``.
        tokenizer: its kind and the size of its vocabulary, for people; empty if it has none.
        chat_template: Jinja; empty if it has none.
        revision, commit: where it came from, if it came from the hub.
    """

    name: str
    kind: Kind
    form: Form
    checkpoint: Checkpoint
    container: str
    architecture: str
    tokenizer: str = ""
    chat_template: str = ""
    licence: str = ""
    base_models: tuple[str, ...] = ()
    files: tuple[ListedFile, ...] = ()
    revision: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class FolderParts:
    """What was read of a Hugging Face model; configurations are empty where there is none.

    Attributes:
        sampled: the bytes of `recognise.hf.samples`.
        template: of a file of its own, which wins over one in the tokenizer's configuration.
    """

    config: Mapping[str, Any]
    quantization: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    sampled: Mapping[str, bytes]
    files: tuple[str, ...]
    template: str = ""


def inspect_gguf(name: str, header: Gguf) -> Inspection:
    """Of a GGUF header.

    Raises:
        ModelFileError: its numbers contradict each other.
    """
    metadata = header.metadata
    tensors = {tensor.name: tensor for tensor in header.tensors}
    kind = kind_of_gguf(metadata, tensors)
    spec = spec_from_gguf(metadata, tensors) if kind in RUNNABLE else None
    return Inspection(
        name=name,
        kind=kind,
        form=recognise_gguf(metadata, tensors),
        checkpoint=Checkpoint(name, header.paths[0], "gguf", spec, tensors, metadata),
        container=f"GGUF {header.version}",
        architecture=_text(metadata.get("general.architecture")),
        tokenizer=_gguf_tokenizer(metadata),
        chat_template=_text(metadata.get("tokenizer.chat_template")),
        licence=_text(metadata.get("general.license")) or _text(metadata.get("general.license.name")),
        base_models=_gguf_base_models(metadata),
    )


def inspect_folder(checkpoint: Checkpoint, parts: FolderParts) -> Inspection:
    """Of a Hugging Face model, whose `checkpoint` needs no spec yet.

    Raises:
        ModelFileError: its configuration contradicts its tensors.
    """
    tensors, config = checkpoint.tensors, parts.config
    kind = kind_of_folder(config, tensors, parts.files)
    spec = spec_from_hf(config, tensors) if kind in RUNNABLE and config else None
    described = Checkpoint(
        checkpoint.name, checkpoint.path, "safetensors", spec, tensors, dict(config), dict(parts.quantization)
    )
    template = parts.tokenizer_config.get("chat_template")
    base = parts.config.get("base_model_name_or_path")
    return Inspection(
        name=checkpoint.name,
        kind=kind,
        form=recognise(tensors, parts.quantization, parts.sampled),
        checkpoint=described,
        container="safetensors",
        architecture=_text(config.get("model_type")),
        tokenizer=_hf_tokenizer(parts, spec.vocab_size if spec else 0),
        chat_template=parts.template or (template if isinstance(template, str) else _default_template(template)),
        base_models=(base,) if isinstance(base, str) and base else (),
    )


def _gguf_tokenizer(metadata: Mapping[str, Any]) -> str:
    kind, tokens = _text(metadata.get("tokenizer.ggml.model")), metadata.get("tokenizer.ggml.tokens")
    pre = _text(metadata.get("tokenizer.ggml.pre"))
    if not kind or kind == "no_vocab":
        return ""
    count = f", {len(tokens):,} tokens" if isinstance(tokens, tuple) else ""
    return f"{_TOKENIZERS.get(kind, kind)}{f' ({pre})' if pre and pre != 'default' else ''}{count}"


_TOKENIZERS = {"llama": "SentencePiece", "gpt2": "BPE", "bert": "WordPiece", "t5": "Unigram", "rwkv": "RWKV", "plamo2": "PLaMo"}


def _hf_tokenizer(parts: FolderParts, vocab_size: int) -> str:
    kinds = {"tokenizer.json": "tokenizers", "tokenizer.model": "SentencePiece", "vocab.json": "BPE", "vocab.txt": "WordPiece"}
    kind = next((text for file, text in kinds.items() if file in parts.files), "")
    kind = kind or ("tiktoken" if any(file.endswith(".tiktoken") for file in parts.files) else "")
    if not kind:
        return ""
    named = _text(parts.tokenizer_config.get("tokenizer_class"))
    count = f", {vocab_size:,} rows" if vocab_size else ""
    return f"{kind}{f' ({named[:40]})' if named else ''}{count}"


def _default_template(value: object) -> str:
    """Of several templates, which a list of names and texts has."""
    if not isinstance(value, list):
        return ""
    pairs = [(item.get("name"), item.get("template")) for item in value if isinstance(item, dict)]
    texts = {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}
    return texts.get("default") or next(iter(texts.values()), "")


def _gguf_base_models(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    count = metadata.get("general.base_model.count")
    urls: Iterable[object] = (
        metadata.get(f"general.base_model.{i}.repo_url") for i in range(min(count, 8) if type(count) is int else 0)
    )
    return tuple(url.removeprefix("https://huggingface.co/") for url in urls if isinstance(url, str))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
