"""What Anthropic's clients send, without the sampling parameters (those are declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from publican.apis.fields import MAX_COUNT, Body, Strings, Whole
from publican.apis.messages import MAX_MESSAGES, MAX_TOOLS

Content = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})]
"""A text, or blocks."""


class Turn(Body):
    """One of `messages`."""

    role: Literal["user", "assistant", "system"]
    content: Content


class ToolBody(Body):
    """One of `tools`. Those with a `type` of their own run at Anthropic's."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str = ""
    input_schema: dict[str, Any] = Field(default_factory=dict)
    type: str = "custom"


class Choice(Body):
    """`tool_choice`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool = False


class Thinking(Body):
    """`thinking`. The budget is the model's own affair here."""

    type: Literal["enabled", "adaptive", "disabled"]


class CountBody(Body):
    """POST /v1/messages/count_tokens."""

    model: str = ""
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: Content = ""
    tools: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS)] = Field(default_factory=list)
    tool_choice: Choice | None = None
    thinking: Thinking | None = None


class MessagesBody(CountBody):
    """POST /v1/messages."""

    max_tokens: Annotated[Whole, Field(ge=1, le=MAX_COUNT)] = 4096
    stop_sequences: Strings = Field(default_factory=list)
    stream: bool = False
    output_format: dict[str, Any] = Field(default_factory=dict)
    output_config: dict[str, Any] = Field(default_factory=dict)
