"""Bodies from outside: everything that JSON allows and Python trips over."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from publican.apis import body as body_file
from publican.apis.body import LARGE_BYTES, MAX_DEPTH, MAX_INTEGER, MAX_PARTS, parse, parse_object, read_object
from publican.core.errors import InvalidRequest

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_reads_what_json_writes(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(InvalidRequest):
        json.dumps(parse(data), allow_nan=False, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"[1]", "object, not a list"),
        (b'"x"', "object, not a string"),
        (b"17", "object, not a number"),
        (b"true", "object, not a truth value"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": -1e999}', "too large"),
        (b'{"a": 18446744073709551616}', "too large"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "too large"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "nested"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
    ],
)
def test_refuses(data: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        parse_object(data)
    assert len(str(caught.value)) < 300


def test_depth_is_counted_exactly() -> None:
    deepest = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    parse(deepest)
    with pytest.raises(InvalidRequest):
        parse(b"[" + deepest + b"]")


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(parse_object(b'{"a": [' + b"[1]," * 500 + b"[1]]}")["a"]) == 501


def test_large_numbers_in_text_and_in_fractions_are_fine() -> None:
    body = parse_object(b'{"a": "12345678901234567890123", "b": 0.1234567890123456789012345, "c": 18446744073709551615}')
    assert body["c"] == MAX_INTEGER


def test_half_a_pair_becomes_a_replacement_character() -> None:
    body = parse_object(b'{"a": "x\\ud83d", "b": ["\\ude00", "\\ud83d\\ude00"], "\\ud83d": 1}')
    assert body == {"a": "x\ufffd", "b": ["\ufffd", "😀"], "\ufffd": 1}


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def padded(data: bytes) -> bytes:
    """The same, large."""
    return data + b" " * (LARGE_BYTES + 1)


@given(JSON)
def test_a_large_body_is_read_as_a_small_one_is(value: Any) -> None:
    assert parse(padded(json.dumps(value).encode())) == value


@pytest.mark.parametrize(
    "many",
    [
        b"[" + b"[]," * MAX_PARTS + b"1]",
        b"[" + b"{}," * MAX_PARTS + b"1]",
        b"[" + b'"",' * MAX_PARTS + b'""]',
        b"[" + rb'"\\",' * MAX_PARTS + b'""]',
        b"{" + b",".join(b'"%d":1' % i for i in range(MAX_PARTS)) + b"}",
        b'{"a":' + b"[" * LARGE_BYTES,
        b'["' + b'"' * 2 * MAX_PARTS,
    ],
)
def test_a_large_body_of_very_many_parts_is_refused_before_it_is_parsed(many: bytes) -> None:
    with pytest.raises(InvalidRequest, match="more than 250,000 lists, objects and texts"):
        parse(many)


def test_what_stands_in_a_text_is_no_part() -> None:
    text = 'a [list], an {"object": "and \\\\ what \\" not"}, ' * 30_000
    body = json.dumps({"text": text, "tokens": list(range(100_000))}).encode()
    assert parse_object(body)["text"] == text
    full = b"[" + b"[]," * (MAX_PARTS - 2) + b'"' + b"[" * LARGE_BYTES + b'"]'
    assert len(parse(full)) == MAX_PARTS - 1
    with pytest.raises(InvalidRequest, match="lists, objects and texts"):
        parse(full[:-1] + b",[]]")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a": 18446744073709551616}', "too large"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "x', "not JSON"),
        (b"", "empty"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "nested"),
    ],
)
def test_a_large_body_is_refused_as_a_small_one_is(data: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        parse_object(padded(data))


def test_large_bodies_are_parsed_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def noting(data: bytes) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return parse_object(data)

    monkeypatch.setattr(body_file, "parse_object", noting)

    async def read(data: bytes) -> dict[str, Any]:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": data, "more_body": False}

        return await read_object(Request({"type": "http", "headers": []}, receive), 1 << 20)

    async def main() -> None:
        assert await read(b'{"a": 1}') == {"a": 1}
        assert await read(padded(b'{"a": 1}')) == {"a": 1}
        with pytest.raises(InvalidRequest, match="NaN"):
            await read(padded(b'{"a": NaN}'))
        own = threading.get_ident()
        assert [thread == own for thread in threads] == [True, False, False]

    asyncio.run(main())
