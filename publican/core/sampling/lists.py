"""Lists as clients write them: JSON arrays, JSON inside a string, commas between. Pure.

Each function takes the name that the client used and what it sent, and raises InvalidParameter with that name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from publican.core.errors import InvalidParameter
from publican.core.ids import TokenId

MAX_ITEMS = 4096
MAX_TOKEN = 2**31 - 1
_ITEM = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^,]*))\s*(?:,|$)""", re.DOTALL)


def read_texts(name: str, value: Any) -> tuple[str, ...]:
    r"""A list of texts; or the same as a JSON string; or ``"\n", ":"``: quoted texts with commas between; empty ones go."""
    items = value
    if isinstance(value, str):
        items = _json_list(value)
        if items is None:
            items = _quoted(value)
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items) or len(items) > MAX_ITEMS:
        raise InvalidParameter(name, "must be a list of texts.")
    return tuple(dict.fromkeys(item for item in items if item))


def read_tokens(name: str, value: Any) -> tuple[TokenId, ...]:
    """A list of token ids, or the same as text with commas between."""
    items: Any = value
    if isinstance(value, str):
        listed = _json_list(value)
        items = [part for part in value.split(",") if part.strip()] if listed is None else listed
    if not isinstance(items, list | tuple):
        raise InvalidParameter(name, "must be a list of token ids.")
    return tuple(dict.fromkeys(_token(name, item) for item in items))


def read_bias(
    name: str, value: Any
) -> tuple[tuple[tuple[TokenId, float], ...], tuple[TokenId, ...], tuple[tuple[str, float], ...]]:
    """``{"token": bias}`` or ``[[token, bias], …]``: biases of tokens, banned tokens (bias false), and biases of texts."""
    pairs: Iterable[Any] = value.items() if isinstance(value, Mapping) else value if isinstance(value, list) else (None,)
    biases: dict[TokenId, float] = {}
    banned: list[TokenId] = []
    texts: list[tuple[str, float]] = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidParameter(name, "must be an object of token ids and numbers, or a list of such pairs.")
        key, bias = pair
        text = isinstance(key, str) and not key.strip().lstrip("-").isdigit()
        if bias is False:
            bias = float("-inf")
        elif isinstance(bias, bool) or not isinstance(bias, int | float) or not -1e4 <= bias <= 1e4:
            raise InvalidParameter(name, "must hold numbers between -10000 and 10000.")
        if text:
            texts.append((key, float(bias)))
        elif bias == float("-inf"):
            banned.append(_token(name, key))
        else:
            biases[_token(name, key)] = float(bias)
    return tuple(biases.items()), tuple(banned), tuple(texts)


def _token(name: str, value: Any) -> TokenId:
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKEN:
        raise InvalidParameter(name, "must hold token ids, which are whole numbers from 0 on.")
    return TokenId(value)


def _json_list(text: str) -> list[Any] | None:
    try:
        value = json.loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _quoted(text: str) -> list[str]:
    items = []
    for match in _ITEM.finditer(text):
        quoted = match.group(1) if match.group(1) is not None else match.group(2)
        raw = match.group(3).strip() if quoted is None else quoted
        items.append(_unescaped(raw))
    return items


def _unescaped(text: str) -> str:
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda m: escapes.get(m.group(1), m.group(1)), text, flags=re.DOTALL)
