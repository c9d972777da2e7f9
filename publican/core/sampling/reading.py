"""Values with a shape of their own, as clients write them. Pure; each raises InvalidParameter with the client's name for it."""

from __future__ import annotations

import json
import math
from typing import Any

from publican.core.errors import InvalidParameter
from publican.core.ids import TokenId
from publican.core.sampling.lists import read_tokens


def read_sequence_bias(name: str, value: Any) -> tuple[tuple[tuple[TokenId, ...], float], ...]:
    """``[[[token, …], bias], …]``; bias may be the text "-inf"."""
    if not isinstance(value, list | tuple):
        raise InvalidParameter(name, "must be a list of pairs: token ids, and a number.")
    return tuple(_biased(name, pair) for pair in value)


def _biased(name: str, pair: Any) -> tuple[tuple[TokenId, ...], float]:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], list | tuple) or not pair[0]:
        raise InvalidParameter(name, "must be a list of pairs: token ids, and a number.")
    bias = -math.inf if pair[1] == "-inf" else pair[1]
    if isinstance(bias, bool) or not isinstance(bias, int | float) or not (bias == -math.inf or -1e4 <= bias <= 1e4):
        raise InvalidParameter(name, "must hold numbers between -10000 and 10000.")
    tokens = [token for item in pair[0] for token in read_tokens(name, [item])]
    return tuple(tokens), float(bias)


def read_decay(name: str, value: Any) -> tuple[float, ...]:
    """``[start, factor]``, or an empty list."""
    if value in ([], ()):
        return ()
    if not isinstance(value, list | tuple) or len(value) != 2 or any(isinstance(v, bool) for v in value):
        raise InvalidParameter(name, "must be two numbers: the token from which it counts, and a factor.")
    start, factor = value
    numbers = isinstance(start, int | float) and isinstance(factor, int | float)
    if not numbers or not (0 <= start <= 2**31 and 0.01 <= factor <= 100.0):
        raise InvalidParameter(name, "must be a whole number from 0 on and a factor between 0.01 and 100.")
    return (float(int(start)), float(factor))


def read_schema(name: str, value: Any) -> str:
    """A schema as an object, or as text that holds one; kept as text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict | bool):
        raise InvalidParameter(name, "must be a JSON schema.")
    return json.dumps(value, separators=(",", ":"))


def read_early_stopping(name: str, value: Any) -> Any:
    """true, false or "never"."""
    return ("true" if value else "false") if isinstance(value, bool) else value
