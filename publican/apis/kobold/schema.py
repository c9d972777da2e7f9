"""What Kobold's clients send, without the sampling parameters (those are declared in `core.sampling`). No logic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, WithJsonSchema

from publican.apis.casts import Int
from publican.apis.fields import MAX_COUNT, Body, Strings

Count = Annotated[Int, Field(ge=1, le=MAX_COUNT)]
Truth = Annotated[bool, BeforeValidator(bool)]
"""Some clients say 1 for true, or how many."""


class GenerateBody(Body):
    """POST /api/v1/generate and /api/extra/generate/stream. `memory` stands before the prompt and is never cut off.

    Numbers may be written as texts: KoboldCpp tries to read them.
    """

    prompt: str = ""
    memory: str = ""
    max_context_length: Count | None = None
    max_length: Count | None = None
    n: Annotated[Int, Field(ge=1, le=5)] = 1
    stop_sequence: Strings = Field(default_factory=list, validation_alias=AliasChoices("stop_sequence", "stop"))
    trim_stop: Truth = True
    bypass_eos: Truth = False
    render_special: Truth = False
    logprobs: Truth = False
    genkey: Annotated[str, Field(max_length=200)] = ""


class KeyBody(Body):
    """Whatever asks about an answer that is being made: `genkey` is what its caller called it."""

    genkey: Annotated[str, Field(max_length=200)] = ""


class TokenCountBody(Body):
    """POST /api/extra/tokencount. `special` counts the token that a prompt begins with."""

    prompt: str
    special: bool = True


class DetokenizeBody(Body):
    """POST /api/extra/detokenize."""

    ids: Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "integer"}})]


class SchemaBody(Body):
    """POST /api/extra/json_to_grammar."""

    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class ModelBody(Body):
    """PUT /api/v1/model."""

    model: Annotated[str, Field(min_length=1, max_length=1_000)]
