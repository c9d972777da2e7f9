"""What Ollama's clients send, without the sampling parameters in `options` (declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, Field, WithJsonSchema

from publican.apis.fields import MAX_COUNT, Body, Strings, Whole

Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Messages = Annotated[list[dict[str, Any]], Field(max_length=10_000)]
Duration = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})]
Format = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]
Think = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string"}]})]


class Options(Body):
    """What `options` holds beside the sampling parameters."""

    num_predict: Annotated[Whole, Field(ge=-(2**31), le=MAX_COUNT)] = -1
    num_ctx: Annotated[Whole, Field(ge=0, le=MAX_COUNT)] = 0
    stop: Strings = Field(default_factory=list)


class Common(Body):
    """What both ways of generating share. `keep_alive` 0 without a prompt unloads the model."""

    model: Name = Field(validation_alias=AliasChoices("model", "name"))
    stream: bool = True
    format: Format = ""
    options: dict[str, Any] = Field(default_factory=dict)
    keep_alive: Duration = None
    think: Think = None
    truncate: bool = True
    logprobs: bool = False
    top_logprobs: Annotated[Whole, Field(ge=0, le=20)] = 0


class GenerateBody(Common):
    """POST /api/generate."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[Any] = Field(default_factory=list)
    raw: bool = False


class ChatBody(Common):
    """POST /api/chat."""

    messages: Messages = Field(default_factory=list)
    tools: Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "object"}})] = None


class EmbedBody(Body):
    """POST /api/embed, and POST /api/embeddings, whose text is the `prompt`."""

    model: Name = Field(validation_alias=AliasChoices("model", "name"))
    input: Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})] = (
        Field("", validation_alias=AliasChoices("input", "prompt"))
    )
    dimensions: Annotated[Whole, Field(ge=1, le=MAX_COUNT)] | None = None
    truncate: bool = True


class NameBody(Body):
    """Whatever is about one model."""

    model: Name = Field(validation_alias=AliasChoices("model", "name"))


class PullBody(NameBody):
    """POST /api/pull."""

    stream: bool = True


class CopyBody(Body):
    """POST /api/copy."""

    source: Name
    destination: Name
