"""What clients of TGI send, without the sampling parameters in `parameters` (declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from publican.apis.fields import MAX_COUNT, Body, Strings, Whole
from publican.apis.messages import Messages

MAX_BEST_OF = 8
MAX_TOP_N = 5
MAX_NEW_TOKENS = 20
"""Of an answer whose length the caller does not say."""


class Parameters(Body):
    """What `parameters` holds beside the sampling parameters. `translate` checks what TGI has words of its own for."""

    best_of: Whole | None = None
    max_new_tokens: Annotated[Whole, Field(le=MAX_COUNT)] = MAX_NEW_TOKENS
    return_full_text: bool | None = None
    stop: Strings = Field(default_factory=list)
    truncate: Whole | None = None
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    top_n_tokens: Annotated[Whole, Field(ge=0)] | None = None
    grammar: dict[str, Any] | None = None
    adapter_id: str = ""


class GenerateBody(Body):
    """POST /generate, /generate_stream, and / with `stream`."""

    inputs: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    stream: bool = False


class TokenizeBody(Body):
    """POST /tokenize."""

    inputs: str


class ChatTokenizeBody(Body):
    """POST /chat_tokenize."""

    messages: Messages
    tools: list[dict[str, Any]] = Field(default_factory=list)
