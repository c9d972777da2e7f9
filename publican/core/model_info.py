"""`ModelInfo`: a model as its own files describe it, read without loading, for whoever has to describe it in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from publican.core.ids import TokenId


class InfillTokens(NamedTuple):
    """The tokens around a hole that the model fills: before its prefix, before its suffix, and where it begins to write."""

    prefix: TokenId
    suffix: TokenId
    middle: TokenId


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model.

    Attributes:
        format: the container: ``gguf``, ``safetensors``, ``fake``.
        architecture: the family, as the files call it: ``llama``, ``qwen2``.
        num_bytes: all its files together; num_parameters: the numbers in its tensors. 0 is unknown.
        modified_s: the newest file's time, Unix seconds.
        quantization: how most of its weights are stored: ``Q4_1``, ``BF16``, ``GPTQ 4-bit``; empty is unknown.
        trained_context_len: what the model was made for.
        chat_template: the Jinja text that chats are rendered with.
        templates: the names of all that a request may ask for.
        bos, eos: the texts of the tokens that templates call so; empty for none.
        infill: None for a model that was not taught to fill holes.
        for_vectors: it was made to turn texts into vectors, whatever else could be had of it.
        sampling: the sampling parameters it is best asked with, canonical names and values: what its makers recommend, under
            what its owner has set. A request is read over them (`core.sampling.wire.sampling_params`, `model_defaults`).
        metadata: single values of the files' own header, by the files' own names. No lists: a vocabulary is long.
    """

    name: str
    format: str
    architecture: str = ""
    num_bytes: int = 0
    num_parameters: int = 0
    modified_s: float = 0.0
    quantization: str = ""
    trained_context_len: int = 0
    hidden_size: int = 0
    vocab_size: int = 0
    chat_template: str = ""
    templates: tuple[str, ...] = ()
    bos: str = ""
    eos: str = ""
    infill: InfillTokens | None = None
    for_vectors: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
