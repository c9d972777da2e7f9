"""Reads GGUF headers: metadata, and where every tensor lies. Versions 2 and 3, one file or all parts of a split one.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Whoever made the file is not trusted: whatever is wrong
with it ends in a ModelFileError of one sentence, in bounded memory and time. Reads headers only, never a tensor's data.
Blocks; called by `store.checkpoint` and by whoever inspects a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from publican.core.errors import ModelFileError
from publican.core.model import TensorInfo
from publican.store.ggml_types import GGML_TYPES, REMOVED_TYPES
from publican.store.gguf_cursor import Cursor, decode
from publican.store.gguf_parts import all_parts, check_part
from publican.store.magic import describe_other_format
from publican.store.source import FileSource, Source

MAX_KEYS = 65_536
MAX_TENSORS = 131_072
MAX_DIMS = 4
MAX_KEY_LEN = 65_535
MAX_TENSOR_NAME_LEN = 64
DEFAULT_ALIGNMENT = 32
_MIN_KEY_BYTES, _MIN_TENSOR_BYTES = 13, 24


@dataclass(frozen=True, slots=True)
class Gguf:
    """A GGUF header.

    Attributes:
        version: 2 or 3.
        metadata: numbers, bools and strings; arrays are tuples of them. Text that is not UTF-8 has lone surrogates.
        tensors: in the file's order, part after part.
        paths: the files, the first part first.
    """

    version: int
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    paths: tuple[Path, ...]


def read_gguf(path: Path) -> Gguf:
    """The header of the GGUF file at `path`; of all its parts, if it is any part of a split file.

    Raises:
        ModelFileError: it is not there, not GGUF, damaged, truncated, or a part is missing.
    """
    headers = []
    for index, part in enumerate(parts := all_parts(path)):
        with FileSource(part) as source:
            header = read_header(source, part)
        check_part(header.metadata, part, index, len(parts))
        headers.append(header)
    if len(headers) == 1:
        return headers[0]
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    _check_unique(tensors, path)
    promised = headers[0].metadata.get("split.tensors.count", len(tensors))
    if promised != len(tensors):
        raise ModelFileError(
            f"The parts of {path.name} hold {len(tensors):,} tensors instead of {promised}; download them again."
        )
    return Gguf(headers[0].version, headers[0].metadata, tensors, parts)


def read_header(source: Source, path: Path) -> Gguf:
    """The header of one file. `path` is what its tensors and its errors are labelled with; it is not opened.

    Raises:
        ModelFileError: as for `read_gguf`.
    """
    version = _read_version(source, path.name)
    cursor = Cursor(source, path.name)
    cursor.take(8, "its beginning")
    num_tensors = _read_count(cursor, "tensors", MAX_TENSORS, _MIN_TENSOR_BYTES)
    num_keys = _read_count(cursor, "keys", MAX_KEYS, _MIN_KEY_BYTES)
    metadata = _read_metadata(cursor, num_keys)
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        cursor.fail(f"its alignment is {alignment!r:.40}, not a power of two")
    listed = [_read_tensor(cursor, path, index, alignment) for index in range(num_tensors)]
    data_start = -(-cursor.at // alignment) * alignment
    tensors = tuple(_at(tensor, data_start) for tensor in listed)
    _check_unique(tensors, path)
    _check_layout(tensors, source.size, path)
    return Gguf(version, metadata, tensors, (path,))


def _read_version(source: Source, name: str) -> int:
    head = source.read(0, 64)
    if head[:4] != b"GGUF":
        raise ModelFileError(f"{name} {describe_other_format(head)}")
    version = int.from_bytes(head[4:8], "little")
    if version and version & 0xFFFF == 0:
        raise ModelFileError(f"{name} is a GGUF file for big-endian machines; get the usual little-endian one.")
    if version == 1:
        raise ModelFileError(f"{name} is GGUF version 1 of August 2023, which nothing reads any more; get a newer file.")
    if version not in (2, 3):
        raise ModelFileError(f"{name} is GGUF version {version}, and this publican reads versions 2 and 3; update publican.")
    return version


def _read_count(cursor: Cursor, what: str, limit: int, min_bytes: int) -> int:
    count = cursor.u64(f"the number of {what}")
    if count > limit or count * min_bytes > cursor.num_left():
        cursor.fail(f"it says that it has {count:,} {what}, more than can be")
    return count


def _read_metadata(cursor: Cursor, num_keys: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for index in range(num_keys):
        raw = cursor.raw_string(f"the name of key {index}", MAX_KEY_LEN)
        key = decode(raw)
        if not raw or key in metadata:
            cursor.fail(f"key {index} has no name" if not raw else f"the key {key!r:.80} is there twice")
        metadata[key] = cursor.value(cursor.u32(f"the type of {key!r:.80}"), f"the value of {key!r:.80}")
    return metadata


def _read_tensor(cursor: Cursor, path: Path, index: int, alignment: int) -> TensorInfo:
    """One tensor's entry; its offset still counts from the beginning of the data."""
    name = decode(cursor.raw_string(f"the name of tensor {index}", MAX_TENSOR_NAME_LEN))
    what = f"the entry of tensor {name!r}"
    num_dims = cursor.u32(what)
    if num_dims > MAX_DIMS:
        cursor.fail(f"tensor {name!r} has {num_dims:,} dimensions, and {MAX_DIMS} are the most")
    shape = tuple(reversed([cursor.u64(what) for _ in range(num_dims)]))
    kind, offset = cursor.u32(what), cursor.u64(what)
    if kind in REMOVED_TYPES:
        raise ModelFileError(f"{path.name} uses the type {REMOVED_TYPES[kind]}, which GGML has dropped; get the file as Q4_0.")
    if kind not in GGML_TYPES:
        cursor.fail(f"tensor {name!r} has the unknown type {kind}")
    dtype, block_len, block_bytes = GGML_TYPES[kind]
    num_elements = 1
    for dim in shape:
        num_elements *= dim
    if num_elements <= 0 or num_elements >= 1 << 63:
        cursor.fail(f"tensor {name!r} has the impossible shape {list(shape)}")
    if (shape[-1] if shape else 1) % block_len:
        cursor.fail(
            f"the rows of tensor {name!r} have {shape[-1] if shape else 1:,} elements, no multiple of {dtype}'s {block_len}"
        )
    if offset % alignment:
        cursor.fail(f"tensor {name!r} lies at {offset:,}, no multiple of the alignment {alignment:,}")
    return TensorInfo(name, dtype, shape, path, offset, num_elements // block_len * block_bytes)


def _at(tensor: TensorInfo, data_start: int) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.dtype, tensor.shape, tensor.file, tensor.offset + data_start, tensor.num_bytes)


def _check_unique(tensors: Iterable[TensorInfo], path: Path) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise ModelFileError(
                f"The header of {path.name} is damaged: tensor {tensor.name!r} is there twice; get another copy."
            )
        seen.add(tensor.name)


def _check_layout(tensors: Iterable[TensorInfo], size: int, path: Path) -> None:
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda t: t.offset):
        if tensor.offset < end:
            raise ModelFileError(
                f"The header of {path.name} is damaged: tensors {before!r} and {tensor.name!r} overlap; download it again."
            )
        end, before = tensor.offset + tensor.num_bytes, tensor.name
    if end > size:
        raise ModelFileError(
            f"{path.name} is truncated: it has {size:,} bytes and its header promises {end:,}; download it again."
        )
