"""What llama.cpp's clients send, without the sampling parameters (those are declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, Field, WithJsonSchema

from publican.apis.fields import MAX_COUNT, Body, Strings, Whole
from publican.apis.openai.schema import ChatBody, Logprobs
from publican.core.request import MAX_CHOICES, MAX_TOP_LOGPROBS

Mixed = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}]}
    ),
]
"""A text, or a list of texts and token ids that are joined."""


class LoraScale(Body):
    """An adapter by its number in `GET /lora-adapters`, and how much of it."""

    id: Whole
    scale: float = 1.0


class CompletionBody(Body):
    """POST /completion. `n_predict` -1 and -2 are as many as fit."""

    prompt: Mixed
    n_predict: Annotated[Whole, Field(ge=-2, le=MAX_COUNT, validation_alias=AliasChoices("n_predict", "max_tokens"))] = -1
    n: Annotated[Whole, Field(ge=1, le=MAX_CHOICES, validation_alias=AliasChoices("n_cmpl", "n"))] = 1
    n_probs: Annotated[Logprobs, Field(ge=0, le=MAX_TOP_LOGPROBS, validation_alias=AliasChoices("n_probs", "logprobs"))] = 0
    stop: Strings = Field(default_factory=list)
    stream: bool = False
    return_tokens: bool = False
    response_fields: list[str] = Field(default_factory=list)
    lora: list[LoraScale] = Field(default_factory=list)
    model: str = ""


class InfillBody(CompletionBody):
    """POST /infill. `prompt` is what the answer begins with; `input_extra` are other files, for context."""

    prompt: str = ""
    input_prefix: str = ""
    input_suffix: str = ""
    input_extra: list[dict[str, Any]] = Field(default_factory=list)


class TokenizeBody(Body):
    """POST /tokenize. Without `content` there is nothing to tokenise, which is no error."""

    content: Mixed = ""
    add_special: bool = False
    with_pieces: bool = False
    model: str = ""


class DetokenizeBody(Body):
    """POST /detokenize, of llama.cpp and of vLLM."""

    tokens: Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}})]
    model: str = ""


class TemplateBody(ChatBody):
    """POST /apply-template."""


class EmbeddingBody(Body):
    """POST /embedding and /embeddings."""

    content: Annotated[Any, WithJsonSchema({"type": "string"})] = Field(validation_alias=AliasChoices("content", "input"))
    model: str = ""
    embd_normalize: Annotated[Whole, Field(ge=-1, le=1_000)] = 2
