"""How a request parameter is declared: once, with everything that anyone needs to know of it.

A declaration is the metadata of a dataclass field. From it come the check of a value, its names and its default in every
dialect, the controls of the UI, and the reference in the docs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from publican.core.errors import InvalidParameter

_METADATA_KEY = "parameter"
_KIND_TEXTS = {bool: "true or false", str: "any text", tuple: "a list"}


@dataclass(frozen=True, slots=True)
class Wire:
    """How one dialect says a parameter, where that differs from the declaration.

    Attributes:
        names: the dialect's names, the one that wins first; the parameter's own name and aliases follow them.
        only: the parameter's own name and aliases mean something else here, or nothing.
        default: what the dialect's clients expect when they are silent; None: the neutral value.
        scale: wire value × scale = our value.
        off: wire values that mean "off", that is, our neutral value.
        clamp: a number outside the range becomes the nearest one inside, as this peer does, instead of an error.
        low, high: a narrower range than ours, where the peer refuses what we could do.
    """

    names: tuple[str, ...] = ()
    only: bool = False
    default: Any = None
    scale: float = 1.0
    off: tuple[float, ...] = ()
    clamp: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    Attributes:
        name: the dataclass field's name, and the canonical one on the wire.
        kind: bool, int, float, str or tuple; the type of a value (None is allowed where `neutral` is None).
        neutral: the value that changes nothing.
        low, high: the closed range; `low_open` leaves `low` itself out.
        negative_off: any negative number means the neutral value, in every dialect.
        options: the texts that a str may be; empty: any.
        aliases: further names that every dialect understands.
        wire: what single dialects do differently.
        read: makes a value of what came over the wire, for kinds that JSON does not have; raises InvalidParameter.
        group: under which heading the docs and the UI show it.
        text: one sentence for the docs and the UI.
    """

    name: str
    kind: type
    neutral: Any
    text: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    negative_off: bool = False
    options: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    wire: Mapping[str, Wire] = field(default_factory=dict)
    read: Callable[[str, Any], Any] | None = None
    group: str = ""

    @property
    def range_text(self) -> str:
        if self.options:
            return "one of " + ", ".join(self.options)
        if self.kind in _KIND_TEXTS:
            return _KIND_TEXTS[self.kind]
        kind = "a whole number" if self.kind is int else "a number"
        low, high = (f"{int(n):,}" if self.kind is int and not math.isinf(n) else f"{n:g}" for n in (self.low, self.high))
        above = f"above {low}" if self.low_open else f"at least {low}"
        if math.isinf(self.low) and math.isinf(self.high):
            return kind
        if math.isinf(self.high):
            return f"{kind}, {above}"
        if math.isinf(self.low):
            return f"{kind}, at most {high}"
        return f"{kind}, {above} and at most {high}"

    def check(self, value: Any) -> None:
        """Raises InvalidParameter, with the range, unless `value` is one this parameter can take."""
        if value is None and self.neutral is None:
            return
        if self.kind in _KIND_TEXTS:
            if not isinstance(value, self.kind) or (self.options and value not in self.options):
                raise InvalidParameter(self.name, f"must be {self.range_text}, got {value!r:.60}.")
            return
        if isinstance(value, bool) or not isinstance(value, int | (float if self.kind is float else int)):
            raise InvalidParameter(self.name, f"must be {self.range_text}, got {value!r:.60}.")
        low_ok = value > self.low if self.low_open else value >= self.low
        if not (low_ok and value <= self.high and abs(value) != math.inf):
            raise InvalidParameter(self.name, f"must be {self.range_text}, got {_short(value)}.")


def _short(number: float) -> str:
    return "a number of more digits than anyone needs" if abs(number) > 1e300 and abs(number) != math.inf else f"{number!r:.60}"


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
    wire = parameter.wire.get(dialect, Wire())
    own = () if wire.only else (parameter.name, *parameter.aliases)
    return tuple(dict.fromkeys((*wire.names, *own)))


def sent_as(parameter: Parameter, dialect: str, body: Mapping[str, Any]) -> str | None:
    """The name under which `body` says `parameter`, or None if it is silent. JSON null counts as silence."""
    return next((name for name in wire_names(parameter, dialect) if body.get(name) is not None), None)


def wire_defaults(parameters: Iterable[Parameter], dialect: str) -> dict[str, Any]:
    """What `dialect` takes for `parameters` when a request is silent, where that is not the neutral value."""
    wires = ((p.name, p.wire[dialect]) for p in parameters if dialect in p.wire)
    return {name: wire.default for name, wire in wires if wire.default is not None}


def from_wire(
    parameters: Iterable[Parameter], dialect: str, body: Mapping[str, Any], *, defaults: bool = True
) -> dict[str, Any]:
    """The values that a request body gives for `parameters`, by canonical name; with `defaults`, the dialect's as well.

    JSON null counts as silence. Numbers that are whole may come as floats, and numbers as strings only where the dialect
    casts them itself before calling.

    Raises:
        InvalidParameter: a value is of the wrong type or outside its range, named as the caller named it.
    """
    parameters = tuple(parameters)
    values = wire_defaults(parameters, dialect) if defaults else {}
    for parameter in parameters:
        sent = sent_as(parameter, dialect, body)
        if sent is not None:
            values[parameter.name] = _read(parameter, parameter.wire.get(dialect, Wire()), sent, body[sent])
    return values


def _read(parameter: Parameter, wire: Wire, sent: str, value: Any) -> Any:
    if parameter.read is not None:
        value = parameter.read(sent, value)
    if isinstance(value, float) and parameter.kind is int and value.is_integer():
        value = int(value)
    low = parameter.low if wire.low is None else wire.low
    high = parameter.high if wire.high is None else wire.high
    if not isinstance(value, bool) and isinstance(value, int | float) and parameter.kind in (int, float):
        if value in wire.off or (parameter.negative_off and value < 0):
            return parameter.neutral
        if wire.scale != 1.0:
            value = value * wire.scale
        if wire.clamp and abs(value) != math.inf:
            value = parameter.kind(low) if value < low else parameter.kind(high) if value > high else value
    dataclasses.replace(parameter, name=sent, low=low, high=high).check(value)
    return float(value) if parameter.kind is float and value is not None else value
