"""How a request parameter is declared: once, with everything that anyone needs to know of it.

A declaration is the metadata of a dataclass field. From it come the check of a value, its names in every dialect, the
controls of the UI, and the reference in the docs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from publican.core.errors import InvalidParameter

_METADATA_KEY = "parameter"


@dataclass(frozen=True, slots=True)
class Wire:
    """How one dialect says a parameter, where that differs from the declaration.

    Attributes:
        names: the dialect's names, the one that wins first; empty: the parameter's own name and aliases.
        default: what the dialect's clients expect when they are silent; None: the neutral value.
        scale: wire value × scale = our value.
        off: wire values that mean "off", that is, our neutral value.
    """

    names: tuple[str, ...] = ()
    default: Any = None
    scale: float = 1.0
    off: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    Attributes:
        name: the dataclass field's name, and the canonical one on the wire.
        kind: bool, int, float or str; the type of a value (None is allowed where `neutral` is None).
        neutral: the value that changes nothing.
        low, high: the closed range; `low_open` leaves `low` itself out.
        aliases: further names that every dialect understands.
        wire: what single dialects do differently.
        text: one sentence for the docs and the UI.
    """

    name: str
    kind: type
    neutral: Any
    text: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    aliases: tuple[str, ...] = ()
    wire: Mapping[str, Wire] = field(default_factory=dict)

    @property
    def range_text(self) -> str:
        if self.kind in (bool, str):
            return "true or false" if self.kind is bool else "any text"
        kind = "a whole number" if self.kind is int else "a number"
        above = f"above {self.low:g}" if self.low_open else f"at least {self.low:g}"
        if math.isinf(self.low) and math.isinf(self.high):
            return kind
        if math.isinf(self.high):
            return f"{kind}, {above}"
        if math.isinf(self.low):
            return f"{kind}, at most {self.high:g}"
        return f"{kind}, {above} and at most {self.high:g}"

    def check(self, value: Any) -> None:
        """Raises InvalidParameter, with the range, unless `value` is one this parameter can take."""
        if value is None and self.neutral is None:
            return
        if self.kind is bool or self.kind is str:
            if not isinstance(value, self.kind):
                raise InvalidParameter(self.name, f"must be {self.range_text}, got {value!r:.60}.")
            return
        if isinstance(value, bool) or not isinstance(value, int | (float if self.kind is float else int)):
            raise InvalidParameter(self.name, f"must be {self.range_text}, got {value!r:.60}.")
        low_ok = value > self.low if self.low_open else value >= self.low
        if not (math.isfinite(value) and low_ok and value <= self.high):
            raise InvalidParameter(self.name, f"must be {self.range_text}, got {value:g}.")


def declare(kind: type, neutral: Any, text: str, **rest: Any) -> Any:
    """A dataclass field that carries its declaration; its default is the neutral value."""
    return field(default=neutral, metadata={_METADATA_KEY: Parameter("", kind, neutral, text, **rest)})


def declared(cls: type) -> dict[str, Parameter]:
    """The declared parameters of dataclass `cls`, by name, in order of declaration."""
    return {
        f.name: dataclasses.replace(f.metadata[_METADATA_KEY], name=f.name)
        for f in dataclasses.fields(cls)
        if _METADATA_KEY in f.metadata
    }


def wire_names(parameter: Parameter, dialect: str) -> tuple[str, ...]:
    """The names under which `dialect` may send `parameter`, the one that wins first."""
    own = parameter.wire[dialect].names if dialect in parameter.wire else ()
    return own or (parameter.name, *parameter.aliases)


def from_wire(parameters: Iterable[Parameter], dialect: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a request body gives for `parameters`, by canonical name; silent ones get the dialect's default.

    JSON null counts as silence. Numbers that are whole may come as floats, and numbers as strings only where the dialect
    casts them itself before calling.

    Raises:
        InvalidParameter: a value is of the wrong type or outside its range, named as the caller named it.
    """
    values: dict[str, Any] = {}
    for parameter in parameters:
        wire = parameter.wire.get(dialect, Wire())
        sent = next((n for n in wire_names(parameter, dialect) if body.get(n) is not None), None)
        if sent is None:
            if wire.default is not None:
                values[parameter.name] = wire.default
            continue
        value = body[sent]
        if isinstance(value, float) and parameter.kind is int and value.is_integer():
            value = int(value)
        if not isinstance(value, bool) and isinstance(value, int | float):
            if value in wire.off:
                value = parameter.neutral
            elif wire.scale != 1.0:
                value = value * wire.scale
        dataclasses.replace(parameter, name=sent).check(value)
        values[parameter.name] = value
    return values
