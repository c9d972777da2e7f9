"""What OpenAI clients send, without the sampling parameters (those are declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, WithJsonSchema

from publican.apis.fields import MAX_COUNT, Body, Strings, Whole
from publican.core.request import MAX_CHOICES, MAX_TOP_LOGPROBS

Count = Annotated[Whole, Field(ge=0, le=MAX_COUNT)]

Prompts = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "array", "items": {"type": "integer"}},
                {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            ]
        }
    ),
]
"""A text, several, the tokens of one, or of several. `translate` looks at it: a union's complaints say nothing to people."""

Logprobs = Annotated[Whole, BeforeValidator(lambda value: int(value) if isinstance(value, bool) else value)]
"""How many; some clients say true for one."""


class StreamOptions(Body):
    """`continuous_usage_stats` is vLLM's: usage so far on every chunk."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class Common(Body):
    """What both ways of completing share."""

    model: str = ""
    n: Annotated[Whole, Field(ge=1, le=MAX_CHOICES)] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: Strings = Field(default_factory=list, validation_alias=AliasChoices("stop", "stopping_strings"))
    user: str = ""
    # vLLM, and those who followed it
    stop_token_ids: list[Any] = Field(default_factory=list)
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    truncate_prompt_tokens: Annotated[Whole, Field(ge=-1, le=MAX_COUNT)] | None = None
    prompt_logprobs: Annotated[Whole, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    return_tokens_as_token_ids: bool = False


class CompletionBody(Common):
    """POST /v1/completions."""

    prompt: Prompts
    max_tokens: Count = Field(
        16, validation_alias=AliasChoices("max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict", "num_predict")
    )
    echo: bool = False
    logprobs: Annotated[Logprobs, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    add_special_tokens: bool = Field(True, validation_alias=AliasChoices("add_special_tokens", "add_bos_token"))


class ChatMessage(Body):
    """One turn. What it holds beside these two goes to the chat template."""

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: Annotated[
        Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]})
    ] = None


class ChatBody(Common):
    """POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=10_000)]
    max_tokens: Count | None = Field(
        None, validation_alias=AliasChoices("max_completion_tokens", "max_tokens", "max_new_tokens", "n_predict")
    )
    logprobs: bool = False
    top_logprobs: Annotated[Whole, Field(ge=0, le=MAX_TOP_LOGPROBS)] = 0
    reasoning_effort: str = ""
    # vLLM
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template: str = ""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    documents: list[Any] = Field(default_factory=list)
