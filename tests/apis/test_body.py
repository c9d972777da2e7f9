"""Bodies from outside: everything that JSON allows and Python trips over."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.apis.body import MAX_DEPTH, MAX_INTEGER, parse, parse_object
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
