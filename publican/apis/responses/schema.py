"""What clients of ``/v1/responses`` send, without the sampling parameters (those are declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from publican.apis.fields import MAX_COUNT, Body, Strings, Whole
from publican.apis.openai.schema import MAX_TOP_LOGPROBS

LOGPROBS = "message.output_text.logprobs"
"""What `include` says to ask for log probabilities."""


class TextConfig(Body):
    """The form of the answer, as in `response_format` of chat completions but in one piece."""

    format: dict[str, Any] = Field(default_factory=dict)


class Reasoning(Body):
    """How much the model may think; who understands that is its chat template."""

    effort: str = ""


class ResponsesBody(Body):
    """POST /v1/responses."""

    input: Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})]
    model: str = ""
    instructions: str = ""
    max_output_tokens: Annotated[Whole, Field(ge=1, le=MAX_COUNT)] | None = None
    stream: bool = False
    stop: Strings = Field(default_factory=list)
    tools: Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "object"}})] = None
    tool_choice: Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})] = None
    parallel_tool_calls: bool = True
    text: TextConfig = Field(default_factory=TextConfig)
    reasoning: Reasoning = Field(default_factory=Reasoning)
    include: list[str] = Field(default_factory=list)
    top_logprobs: Annotated[Whole, Field(ge=0, le=MAX_TOP_LOGPROBS)] = 0
    truncation: Literal["auto", "disabled"] = "disabled"
    metadata: dict[str, Any] = Field(default_factory=dict)
    user: str = ""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
