"""Request bodies: bytes from outside, read as JSON with limits. Knows no dialect and no field. Event loop.

Nothing that JSON lets through and Python trips over gets past here: NaN, infinities, integers beyond 64 bits, nesting that
exhausts the stack, halves of UTF-16 pairs.

Large bodies are parsed on a thread, or everybody's streams would stand still meanwhile. A thread alone does not help, because
the parser holds the interpreter's lock while it is in C. It lets go whenever it calls us, which it does for each number; lists,
objects and texts it makes by itself, and so there is a bound on them.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import Any

from starlette.requests import ClientDisconnect, Request

from publican.apis.errors import BodyTooLarge, ClientGone
from publican.core.errors import InvalidRequest

MAX_DEPTH = 64
MAX_INTEGER = 2**64 - 1
LARGE_BYTES = 256 << 10
MAX_PARTS = 250_000
"""Lists, objects and texts in a large body."""

_MANY_DIGITS = re.compile(rb"\d{19}")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_object(request: Request, max_bytes: int, may_be_empty: bool = False) -> dict[str, Any]:
    """The JSON object in the body of `request`; no body at all is an empty one, where that `may_be`.

    Raises:
        InvalidRequest, BodyTooLarge: it is no such thing.
        ClientGone: the client hung up before it was complete.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise InvalidRequest(f"The body is compressed ({encoding[:40]!r}); send it as it is.")
    data = await _read(request, max_bytes)
    if may_be_empty and _is_blank(data):
        return {}
    return await parsed(data)


async def parsed(data: bytes) -> dict[str, Any]:
    """As `parse_object`, and nobody waits for a large one but whoever sent it."""
    return parse_object(data) if len(data) <= LARGE_BYTES else await asyncio.to_thread(parse_object, data)


async def _read(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 15 or int(declared) > max_bytes):
        raise BodyTooLarge(max_bytes)
    chunks: list[bytes] = []
    num_bytes = 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise BodyTooLarge(max_bytes)
            chunks.append(chunk)
    except ClientDisconnect:
        raise ClientGone from None
    return b"".join(chunks)


def parse_object(data: bytes) -> dict[str, Any]:
    """`data` as a JSON object. Raises InvalidRequest with what is wrong and where."""
    if _is_blank(data):
        raise InvalidRequest("The request is empty; send a JSON object.")
    value = parse(data)
    if not isinstance(value, dict):
        raise InvalidRequest(f"The request must be a JSON object, not {_kind(value)}.")
    return value


def parse(data: bytes) -> Any:
    """`data` as JSON, in UTF-8 with or without its mark. Raises InvalidRequest with what is wrong and where."""
    is_large = len(data) > LARGE_BYTES
    if is_large and _has_too_many_parts(data):
        raise InvalidRequest(f"The request holds more than {MAX_PARTS:,} lists, objects and texts; send less.")
    whole_numbers = _integer if is_large or _MANY_DIGITS.search(data) else None  # a hook costs; prompts may be lists
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite, parse_int=whole_numbers)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The request is not UTF-8: byte {error.start} is wrong.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The request is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise InvalidRequest(f"The request is nested more than {MAX_DEPTH} levels deep; flatten it.") from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise InvalidRequest(f"The request is nested more than {MAX_DEPTH} levels deep; flatten it.")
    return _without_halves(value) if b"\\u" in data and _SURROGATE_ESCAPE.search(data) else value


def _is_blank(data: bytes) -> bool:
    return not data or data.isspace()


def _has_too_many_parts(data: bytes) -> bool:
    """Whether there are more than `MAX_PARTS` lists, objects and texts, keys among them; what is in a text does not count."""
    if data.count(b"[") + data.count(b"{") + data.count(b'"') <= MAX_PARTS:
        return False
    data = data.replace(rb"\\", b"").replace(rb"\"", b"")  # so that each quote begins or ends a text
    num_parts = start = 0
    while start < len(data) and num_parts <= MAX_PARTS:
        quote = data.find(b'"', start)
        end = quote if quote >= 0 else len(data)
        num_parts += data.count(b"[", start, end) + data.count(b"{", start, end) + (quote >= 0)
        start = data.find(b'"', end + 1) + 1 or len(data)
    return num_parts > MAX_PARTS


def _no_constant(name: str) -> float:
    raise InvalidRequest(f"The request holds {name}, which is not a number in JSON; send a finite one.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidRequest(f"The request holds the number {text[:40]}, which is too large.")
    return value


def _integer(text: str) -> int:
    if len(text) > 21 or abs(value := int(text)) > MAX_INTEGER:
        raise InvalidRequest(f"The request holds the number {text[:40]}, which is too large.")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _without_halves(value: Any) -> Any:
    """A client that cuts text between the halves of a UTF-16 pair says it as an escape; no text of ours can hold it."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_halves(item) for item in value]
    if isinstance(value, dict):
        return {_without_halves(key): _without_halves(item) for key, item in value.items()}
    return value


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
