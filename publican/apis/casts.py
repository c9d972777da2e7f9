"""Values as Python's own casts read them: some clients send ``"0.7"`` and mean it. Pure.

``bool("false")`` is true there, and so it is here. What no cast of Python's refuses and no engine can use (NaN, infinities)
is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from publican.core.errors import InvalidParameter
from publican.core.parameters import Parameter, wire_names

_MAX_DIGITS = 40


def to_int(value: Any) -> int:
    """Raises ValueError for what is no number. 0.9 is 0, but ``"0.9"`` is no whole number."""
    if isinstance(value, str) and len(value) <= _MAX_DIGITS and value.strip().lstrip("+-").isdecimal():
        return int(value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("must be a whole number")
    return int(value)


def to_float(value: Any) -> float:
    """Raises ValueError for what is no finite number."""
    if not isinstance(value, int | float | str) or (isinstance(value, str) and len(value) > _MAX_DIGITS):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number") from None
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def to_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


Int = Annotated[int, BeforeValidator(to_int)]
Bool = Annotated[bool, BeforeValidator(bool)]
Text = Annotated[str, BeforeValidator(to_text)]

_CASTS: Mapping[type, Callable[[Any], Any]] = {bool: bool, int: to_int, float: to_float, str: to_text}


def cast(parameters: Mapping[str, Parameter], dialect: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with the values of `parameters` cast to their kinds, under whatever names `dialect` has for them.

    Raises:
        InvalidParameter: a value cannot be cast.
    """
    values = dict(body)
    for parameter in parameters.values():
        to = _CASTS.get(parameter.kind) if parameter.read is None else None
        for name in wire_names(parameter, dialect):
            if to is None or values.get(name) is None:
                continue
            try:
                values[name] = to(values[name])
            except ValueError as error:
                raise InvalidParameter(name, f"{error}, got {values[name]!r:.60}.") from None
    return values
