"""Reads safetensors headers: where every tensor of one file lies.

Format: https://github.com/huggingface/safetensors#format: eight bytes of length, that much JSON, then the data, which the
tensors cover without holes. Whoever made the file is not trusted; nothing of the data is read. Blocks; called by
`store.shards` and by whoever inspects a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from publican.core.errors import ModelFileError
from publican.core.model import TensorInfo
from publican.store.bounded_json import parse_object
from publican.store.magic import describe_other_format
from publican.store.source import Source

MAX_HEADER_BYTES = 32 << 20
MAX_TENSORS = 131_072
MAX_DIMS = 8
METADATA = "__metadata__"

DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "C64": 64,
    "U64": 64,
    "I64": 64,
    "F64": 64,
}


def read_safetensors(source: Source, path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """The tensors by name, and the free-form metadata. `path` only labels tensors and errors; it is not opened.

    Raises:
        ModelFileError: it is not safetensors, damaged, or truncated.
    """
    header_len = int.from_bytes(source.read(0, 8), "little")
    head = source.read(0, 64)
    if len(head) < 10 or head[8:9] != b"{":
        if header_len > 2 and header_len <= source.size - 8 and head[8:9].isspace():
            _fail(path, "it does not begin with {")
        raise ModelFileError(f"{path.name} {describe_other_format(head).replace('a GGUF model', 'a safetensors file')}")
    if header_len > source.size - 8:
        _fail(path, f"it says that it is {header_len:,} bytes long, longer than the file")
    if header_len > MAX_HEADER_BYTES:
        _fail(path, f"it is {header_len:,} bytes long, and {MAX_HEADER_BYTES:,} are the most")
    raw = source.read(8, header_len)
    if raw.count(b"{") > MAX_TENSORS or raw.count(b",") > 16 * MAX_TENSORS:
        _fail(path, f"it names more than {MAX_TENSORS:,} tensors")  # before parsing, which takes 30 times the memory
    entries = parse_object(raw, f"The header of {path.name}")
    metadata = _metadata(entries.pop(METADATA, {}), path)
    data_start = 8 + header_len
    tensors = {name: _read_tensor(name, entry, data_start, path) for name, entry in entries.items()}
    _check_layout(tensors, data_start, source.size, path)
    return tensors, metadata


def _fail(path: Path, what: str) -> NoReturn:
    raise ModelFileError(f"The header of {path.name} is damaged: {what}; download the file again.")


def _metadata(value: Any, path: Path) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        _fail(path, f"{METADATA} is not a table of texts")
    return value


def _read_tensor(name: str, entry: Any, data_start: int, path: Path) -> TensorInfo:
    if not isinstance(entry, dict):
        _fail(path, f"tensor {name!r:.80} is not described by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        _fail(path, f"tensor {name!r:.80} has the unknown type {dtype!r:.40}")
    if not _is_counts(shape) or len(shape) > MAX_DIMS:
        _fail(path, f"tensor {name!r:.80} has the impossible shape {shape!r:.80}")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _fail(path, f"tensor {name!r:.80} has the impossible place {offsets!r:.80}")
    num_bits = DTYPE_BITS[dtype]
    for dim in shape:
        num_bits *= dim
    start, end = offsets
    if num_bits != 8 * (end - start):
        _fail(path, f"tensor {name!r:.80} of type {dtype} and shape {shape!r:.80} cannot have {end - start:,} bytes")
    return TensorInfo(name, dtype, tuple(shape), path, data_start + start, end - start)


def _is_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(count) is int and 0 <= count < 1 << 63 for count in value)


def _check_layout(tensors: Mapping[str, TensorInfo], data_start: int, size: int, path: Path) -> None:
    end = data_start
    for tensor in sorted(tensors.values(), key=lambda t: (t.offset, t.num_bytes)):
        if tensor.offset != end:
            _fail(path, f"tensor {tensor.name!r:.80} {'overlaps another' if tensor.offset < end else 'comes after a hole'}")
        end += tensor.num_bytes
    if end > size:
        raise ModelFileError(
            f"{path.name} is truncated: it has {size:,} bytes and its header promises {end:,}; download it again."
        )
    if end < size:
        _fail(path, f"{size - end:,} bytes at the end belong to no tensor")
