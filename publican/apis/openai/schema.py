"""What OpenAI clients send, without the sampling parameters (those are declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, WithJsonSchema

from publican.apis.fields import MAX_COUNT, Body, Strings, Whole
from publican.apis.messages import Messages
from publican.core.request import MAX_CHOICES

MAX_TOP_LOGPROBS = 20

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
    truncation_length: Annotated[Whole, Field(ge=0, le=MAX_COUNT)] = 0
    return_tokens_as_token_ids: bool = False


class CompletionBody(Common):
    """POST /v1/completions."""

    prompt: Prompts
    max_tokens: Count = Field(
        16, validation_alias=AliasChoices("max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict", "num_predict")
    )
    echo: bool = False
    suffix: str = ""
    logprobs: Annotated[Logprobs, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    add_special_tokens: bool = Field(True, validation_alias=AliasChoices("add_special_tokens", "add_bos_token"))


class ChatBody(Common):
    """POST /v1/chat/completions."""

    messages: Messages
    max_tokens: Count | None = Field(
        None, validation_alias=AliasChoices("max_completion_tokens", "max_tokens", "max_new_tokens", "n_predict")
    )
    logprobs: bool = False
    top_logprobs: Annotated[Whole, Field(ge=0, le=MAX_TOP_LOGPROBS)] = 0
    reasoning_effort: str = ""
    tools: Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "object"}})] = None
    tool_choice: Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})] = None
    parallel_tool_calls: bool = True
    # vLLM and ooba
    include_reasoning: bool = True
    enable_thinking: bool | None = None
    mode: str = "instruct"
    add_generation_prompt: bool = True
    continue_final_message: bool = Field(False, validation_alias=AliasChoices("continue_final_message", "continue_"))
    chat_template: str = Field(
        "", validation_alias=AliasChoices("chat_template", "instruction_template_str", "instruction_template")
    )
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    documents: list[Any] = Field(default_factory=list)


class EmbeddingsBody(Body):
    """POST /v1/embeddings."""

    input: Prompts
    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[Whole, Field(ge=1, le=MAX_COUNT)] | None = None
