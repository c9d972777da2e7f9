"""What clients of vLLM's own routes send, without the sampling parameters (those are declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from publican.apis.fields import MAX_COUNT, Body, Strings, Whole
from publican.apis.openai.schema import ChatBody
from publican.core.request import MAX_CHOICES


class TokenizeBody(Body):
    """POST /tokenize of a text."""

    prompt: str
    model: str = ""
    add_special_tokens: bool = True
    return_token_strs: bool = False


class TokenizeChatBody(ChatBody):
    """POST /tokenize of a chat."""

    return_token_strs: bool = False


class GenerateBody(Body):
    """POST /generate, as vLLM's first server had it."""

    prompt: str
    stream: bool = False
    n: Annotated[Whole, Field(ge=1, le=MAX_CHOICES)] = 1
    max_tokens: Annotated[Whole, Field(ge=1, le=MAX_COUNT)] = 16
    stop: Strings = Field(default_factory=list)
    stop_token_ids: list[Any] = Field(default_factory=list)
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
