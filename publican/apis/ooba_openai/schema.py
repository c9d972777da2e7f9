"""What clients of ``/v1/internal`` send, without the sampling parameters (those are declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from publican.apis.fields import Body, Whole
from publican.core.request import MAX_TOP_LOGPROBS

Tokens = Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}})]


class TextBody(Body):
    """POST /v1/internal/encode and token-count. A text is part of a prompt to who counts it, so no token is put before it."""

    text: str
    add_bos_token: bool = False


class TokensBody(Body):
    """POST /v1/internal/decode."""

    tokens: Tokens


class LogitsBody(Body):
    """POST /v1/internal/logits: the likeliest next tokens, before or after all samplers."""

    prompt: str
    use_samplers: bool = False
    top_logits: Annotated[Whole, Field(ge=1, le=MAX_TOP_LOGPROBS)] = 50
    add_bos_token: bool = True


class LoadBody(Body):
    """POST /v1/internal/model/load. `args` are what the loader takes."""

    model_name: Annotated[str, Field(min_length=1)]
    args: dict[str, Any] = Field(default_factory=dict)


class LoraBody(Body):
    """POST /v1/internal/lora/load."""

    lora_names: list[str] = Field(default_factory=list)
