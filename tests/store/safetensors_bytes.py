"""Builds safetensors files byte by byte, sound ones and broken ones."""

from __future__ import annotations

import json
import struct
from typing import Any


def with_header(header: bytes, data: bytes = b"", *, header_len: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if header_len is None else header_len) + header + data


def build(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """A sound file: name to (dtype, shape, data)."""
    entries: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return with_header(json.dumps(entries).encode(), data)
