"""What clients of the 2023 API send, without the sampling parameters (those are declared in `core.sampling`). No logic.

Values are cast, as they were then; defaults are those of the time.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, Field, WithJsonSchema

from publican.apis.casts import Bool, Int, Text
from publican.apis.fields import MAX_COUNT, Body, Strings

Table = Annotated[Any, WithJsonSchema({"type": "object"})]


class TokenCountBody(Body):
    """POST /api/v1/token-count."""

    prompt: str


class Parameters(Body):
    """What every way of generating takes, beside the sampling parameters."""

    max_new_tokens: Annotated[Int, Field(ge=0, le=MAX_COUNT)] = Field(
        200, validation_alias=AliasChoices("max_new_tokens", "max_length")
    )
    auto_max_new_tokens: Bool = False
    truncation_length: Annotated[Int, Field(ge=1, le=MAX_COUNT)] = Field(
        2048, validation_alias=AliasChoices("truncation_length", "max_context_length")
    )
    add_bos_token: Bool = True
    skip_special_tokens: Bool = True
    stopping_strings: Strings = Field(default_factory=list)


class GenerateBody(Parameters):
    """POST /api/v1/generate, and one message of the websocket stream."""

    prompt: str


class History(Body):
    """Turns of [user, bot]; `visible` is the same for HTML."""

    internal: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(default_factory=list)
    visible: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(default_factory=list)


class ChatBody(Parameters):
    """POST /api/v1/chat, and one message of the websocket chat-stream."""

    user_input: str
    history: History = Field(default_factory=History)
    mode: Text = "chat"
    regenerate: Bool = False
    continue_last: Bool = Field(False, validation_alias=AliasChoices("_continue", "continue_last"))
    your_name: Text = "You"
    character: Text = "None"
    name1: Text | None = None
    name2: Text | None = None
    context: Text | None = None
    instruction_template: Text | None = None
    name1_instruct: Text | None = None
    name2_instruct: Text | None = None
    context_instruct: Text | None = None
    turn_template: Text | None = None
    chat_instruct_command: Text | None = Field(
        None, validation_alias=AliasChoices("chat_instruct_command", "chat-instruct_command")
    )


class ModelBody(Body):
    """POST /api/v1/model. `args` are what the loader takes."""

    action: Text = "info"
    model_name: Text = ""
    args: dict[str, Any] = Field(default_factory=dict)
