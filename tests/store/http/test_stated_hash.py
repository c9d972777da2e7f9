"""What a server states of a file, in every way that is in use; and nothing for whatever only looks like it."""

from __future__ import annotations

import base64
import hashlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from publican.store.http.stated_hash import sha256_in_tag, stated_sha256

HEX = hashlib.sha256(b"x").hexdigest()
B64 = base64.b64encode(bytes.fromhex(HEX)).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Linked-Etag": f'"{HEX}"'},
        {"x-linked-etag": HEX.upper()},
        {"Repr-Digest": f"sha-256=:{B64}:"},
        {"Repr-Digest": f"sha-512=:AAAA:,sha-256=:{B64}:"},
        {"Digest": f"sha-256={B64}"},
        {"Digest": f"MD5=AAAA, SHA-256={B64}"},
    ],
)
def test_stated(headers: dict[str, str]) -> None:
    assert stated_sha256(httpx.Headers(headers)) == HEX


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": f'"{HEX}"'},
        {"Content-Digest": f"sha-256=:{B64}:"},
        {"X-Linked-Etag": f'"{HEX[:40]}"'},
        {"Repr-Digest": f"sha-256={B64}"},
        {"Repr-Digest": "sha-256=:AAAA:"},
        {"Repr-Digest": "sha-256=:A:"},
        {"Digest": f"id-sha-256={B64}"},
    ],
)
def test_not_stated(headers: dict[str, str]) -> None:
    assert stated_sha256(httpx.Headers(headers)) is None


@given(st.text(max_size=120))
def test_whatever_comes(text: str) -> None:
    for name in ("x-linked-etag", "repr-digest", "digest"):
        found = stated_sha256({name: text})
        assert found is None or len(bytes.fromhex(found)) == 32
    assert sha256_in_tag(text) is None or sha256_in_tag(text) in text.lower()
