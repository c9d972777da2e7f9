"""Arithmetic of templates, bounded before it is done. Knows the meter and Python's values, nothing of Jinja."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from publican.host.templating.meter import Meter, TemplateLimitError

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
_WIDE = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(?:\*|\d{4,}|\d*\.(?:\*|\d{4,}))")


def binary(meter: Meter, symbol: str, left: Any, right: Any) -> Any:
    """`left symbol right`, as Python does it.

    Raises:
        TemplateLimitError: it would be too large.
    """
    meter.check_number(left)
    meter.check_number(right)
    if symbol == "%" and isinstance(left, str):
        return meter.made(percent_format(meter, left, right))
    if symbol == "*":
        _check_product(meter, left, right)
    elif symbol == "**":
        _check_power(meter, left, right)
    elif symbol == "+" and isinstance(left, str) and isinstance(right, str):
        meter.check_text_len(len(left) + len(right))
    elif symbol == "+" and isinstance(left, list | tuple) and isinstance(right, list | tuple):
        meter.check_num_items(len(left) + len(right))
    return meter.made(_OPERATORS[symbol](left, right))


def percent_format(meter: Meter, text: str, values: Any) -> str:
    """`text % values`."""
    if _WIDE.search(text):
        raise TemplateLimitError("it pads a text to a width of more than three digits")
    meter.check_written_out(values)  # namespaces inside, which `weigh` does not open
    meter.check_text_len(len(text) + text.count("%") * meter.weigh(values).chars)
    formatted: str = text % values
    return formatted


def _check_product(meter: Meter, left: Any, right: Any) -> None:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(times, int) and times > 0:
            if isinstance(sequence, str | bytes):
                meter.check_text_len(len(sequence) * times)
            elif isinstance(sequence, list | tuple):
                meter.check_num_items(len(sequence) * times)


def _check_power(meter: Meter, base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > meter.limits.max_bits:
        raise TemplateLimitError(f"it calculates with numbers of more than {meter.limits.max_bits:,} bits")
