"""Fields that several dialects have: their types, and the way from a body's values to `core`. Pure.

Sampling parameters are not among them: those are declared in `core.sampling`, and come out of a body by their declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema, model_validator

from publican.core.errors import InvalidParameter, Unsupported
from publican.core.ids import TokenId
from publican.core.presets import Presets
from publican.core.sampling import SamplingParams
from publican.core.sampling.wire import sampling_params

MAX_COUNT = 2**31 - 1
"""More tokens than any context has."""


def _whole(value: Any) -> Any:
    """JavaScript has one kind of number: 16.0 is 16."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number, possibly written as 16.0."""


def _strings(value: Any) -> Any:
    """One string is a list of one; empty ones mean nothing and are left out."""
    return [item for item in ([value] if isinstance(value, str) else value) if item != ""] if _is_listy(value) else value


def _is_listy(value: Any) -> bool:
    return isinstance(value, str | list)


Strings = Annotated[
    list[str],
    BeforeValidator(_strings),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""Stop strings and their like: one or a list."""


class Body(BaseModel):
    """A body as a dialect declares it: fields it does not name are ignored, null is silence, types are not converted."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _silence(cls, body: Any) -> Any:
        return {name: value for name, value in body.items() if value is not None} if isinstance(body, Mapping) else body

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """`body`, checked. Raises InvalidParameter that names the first wrong value."""
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise as_invalid(error) from None


def as_invalid(error: ValidationError) -> InvalidParameter:
    """The first complaint of `error`, with the place as JavaScript would write it: ``messages[0].content``."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return InvalidParameter(place[:100] or "body", text[:1].lower() + text[1:].rstrip(".") + ".")


def sampling_from(dialect: str, body: Mapping[str, Any], presets: Presets | None = None) -> SamplingParams:
    """The sampling parameters in `body`, under all names that `dialect` has for them, over the preset that it names, over
    what the model is best asked with.

    Raises:
        InvalidParameter: a value is of the wrong type or out of its range, named as the caller named it; or no such preset.
    """
    presets = presets or Presets()
    return sampling_params(dialect, body, presets.of_request(body), presets.defaults)


def token_ids(name: str, value: Any) -> tuple[TokenId, ...]:
    """A list of token ids, or the same as text with commas between. Raises InvalidParameter."""
    parts: Any = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise InvalidParameter(name, "must be a list of token ids.")
    if set(map(type, parts)) == {int} and min(parts) >= 0 and max(parts) <= MAX_COUNT:
        return tuple(parts)  # as nearly all are: a million looked at one by one would hold up everybody else
    return tuple(_token_id(name, part) for part in parts if part != "")


def _token_id(name: str, value: Any) -> TokenId:
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise InvalidParameter(name, "must hold token ids, which are whole numbers from 0 on.")
    return TokenId(value)


Asks = Callable[[Any], bool]
"""Whether a value asks for something, rather than saying that it is not wanted."""


def refuse_unsupported(body: Mapping[str, Any], features: Mapping[str, Asks]) -> None:
    """Raise Unsupported if `body` asks for one of `features`.

    Unknown names are ignored everywhere; these are known, and an answer that ignored them would be wrong in silence.
    """
    for name, asks in features.items():
        value = body.get(name)
        if value is not None and asks(value):
            raise Unsupported(f"{name} is not supported by this server yet; leave it out.")
