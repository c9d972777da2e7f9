"""What TabbyAPI's clients send. No logic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, ConfigDict, Field, WithJsonSchema

from publican.apis.fields import MAX_COUNT, Body, Whole


class EncodeBody(Body):
    """POST /v1/token/encode: a text, or the messages of a chat."""

    text: Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})]
    add_bos_token: bool = True


class DecodeBody(Body):
    """POST /v1/token/decode."""

    tokens: Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}})]


class LoadBody(Body):
    """POST /v1/model/load. What is not named here goes to the loader as it is."""

    model_config = ConfigDict(extra="allow")

    model_name: Annotated[str, Field(min_length=1, validation_alias=AliasChoices("model_name", "name"))]
    max_seq_len: Annotated[Whole, Field(ge=1, le=MAX_COUNT)] | None = None


class DownloadBody(Body):
    """POST /v1/download."""

    repo_id: Annotated[str, Field(min_length=1)]
    revision: str = ""
