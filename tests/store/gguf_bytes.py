"""Builds GGUF files byte by byte, sound ones and broken ones."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class RawTensor(NamedTuple):
    """An entry as it is written: dims innermost first, the offset from the start of the data."""

    name: bytes
    dims: Sequence[int]
    kind: int
    offset: int


def string(text: bytes | str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(item: Any) -> bytes:
    """Type and value, by the Python type: bool, int (u32, or i64 if it must), float (f32), str, and lists of one of them."""
    if isinstance(item, list | tuple):
        inner = [value(element) for element in item] or [value(0)]
        kind = inner[0][:4]
        body = b"".join(element[4:] for element in inner) if item else b""
        return struct.pack("<I", 9) + kind + struct.pack("<Q", len(item)) + body
    if isinstance(item, bool):
        return struct.pack("<IB", 7, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item) if 0 <= item < 1 << 32 else struct.pack("<Iq", 11, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    return struct.pack("<I", 8) + string(item)


def build(
    metadata: Mapping[str | bytes, Any] | Sequence[tuple[str | bytes, bytes]],
    tensors: Sequence[RawTensor] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    alignment: int = 32,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A whole file. `metadata` may be pairs of (key, raw type and value); `counts` lies about (tensors, keys)."""
    pairs = [(k, value(v)) for k, v in metadata.items()] if isinstance(metadata, Mapping) else list(metadata)
    num_tensors, num_keys = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys)
    head += b"".join(string(key) + raw for key, raw in pairs)
    for tensor in tensors:
        head += string(tensor.name) + struct.pack("<I", len(tensor.dims))
        head += b"".join(struct.pack("<Q", dim) for dim in tensor.dims) + struct.pack("<IQ", tensor.kind, tensor.offset)
    return head + b"\0" * (-len(head) % alignment) + data


def tiny_llama(*more: tuple[str, Sequence[int], int, int], **extra: Any) -> bytes:
    """A sound llama of one layer and 16 tokens, all F32 ones; `more` are tensors of zeros: name, dims, kind, bytes."""
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 64,
        "llama.embedding_length": 8,
        "llama.feed_forward_length": 16,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": 4,
        "llama.vocab_size": 16,
        "tokenizer.ggml.model": "no_vocab",
    } | extra
    shapes = {
        "token_embd.weight": (8, 16),
        "output_norm.weight": (8,),
        "blk.0.attn_norm.weight": (8,),
        "blk.0.attn_q.weight": (8, 8),
        "blk.0.attn_k.weight": (8, 4),
        "blk.0.attn_v.weight": (8, 4),
        "blk.0.attn_output.weight": (8, 8),
        "blk.0.ffn_norm.weight": (8,),
        "blk.0.ffn_gate.weight": (8, 16),
        "blk.0.ffn_up.weight": (8, 16),
        "blk.0.ffn_down.weight": (16, 8),
    }
    tensors, data = [], b""
    for name, dims in shapes.items():
        tensors.append(RawTensor(name.encode(), dims, 0, len(data)))
        num = dims[0] * (dims[1] if len(dims) > 1 else 1)
        data += struct.pack("<f", 1.0) * num
        data += b"\0" * (-len(data) % 32)
    for name, dims, kind, num_bytes in more:
        tensors.append(RawTensor(name.encode(), dims, kind, len(data)))
        data += b"\0" * (num_bytes + -num_bytes % 32)
    return build(metadata, tensors, data)
