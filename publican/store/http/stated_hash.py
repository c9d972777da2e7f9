"""The SHA-256 that a server states of a whole file, in the headers of an answer that may be a part of it. Pure.

`X-Linked-ETag` is the hub's and its mirrors', on the way to where the bytes lie; `Repr-Digest` is RFC 9530's and `Digest` RFC
3230's, which it replaces. A tag (`ETag`) may look like one and be anything, so it states nothing: it is only compared.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

_HEX = re.compile(r'(?:W/)?"?([0-9a-fA-F]{64})"?')
_STRUCTURED = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]{1,88}):", re.IGNORECASE)
_OLD = re.compile(r"(?:^|,)\s*sha-256\s*=\s*([A-Za-z0-9+/=]{1,88})\s*(?:,|$)", re.IGNORECASE)


def stated_sha256(headers: Mapping[str, str]) -> str | None:
    """In hexadecimal; None where none is stated, or what is stated cannot be one."""
    linked = sha256_in_tag(headers.get("x-linked-etag", ""))
    if linked is not None:
        return linked
    for name, pattern in (("repr-digest", _STRUCTURED), ("digest", _OLD)):
        match = pattern.search(headers.get(name, ""))
        if match is not None:
            return _from_base64(match[1])
    return None


def sha256_in_tag(tag: str) -> str | None:
    """What a tag would be if it were a SHA-256; None if it cannot be one."""
    match = _HEX.fullmatch(tag.strip())
    return match[1].lower() if match is not None else None


def _from_base64(text: str) -> str | None:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return data.hex() if len(data) == 32 else None
