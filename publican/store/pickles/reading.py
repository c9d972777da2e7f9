"""Where each tensor lies in a file of `torch.save`, read with an unpickler that knows nine names and can call nothing else.

The file is a zip archive: ``data.pkl`` describes the tensors, ``data/<key>`` are their bytes, uncompressed. A pickle is a
program; this one may build dictionaries and say where tensors lie, and whatever else it asks for is refused by name. Blocks.
"""

from __future__ import annotations

import collections
import math
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from publican.core.errors import ModelFileError

MAX_PICKLE_BYTES = 64 << 20
MAX_TENSORS = 131_072
_DTYPES = {
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "DoubleStorage": ("F64", 8),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}
FAILURES = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, ImportError, RuntimeError,
    OverflowError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""What a broken pickle or archive makes the standard library raise."""


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A tensor: `num_bytes` from `start` of the archive's `member`, in `shape`, outermost first."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    member: str
    start: int
    num_bytes: int


class _Storage(NamedTuple):
    """A tuple, so that nothing in a pickle can change it after it was checked."""

    dtype: str
    item_bytes: int
    key: str
    num_items: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickle(archive: zipfile.ZipFile, path: Path) -> list[PickledTensor]:
    """The tensors of the state that was saved, in the file's order.

    Raises:
        ModelFileError: it is damaged, holds something else than tensors by name, or wants something run.
    """
    try:
        (described,) = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if archive.getinfo(described).file_size > MAX_PICKLE_BYTES:
            _refuse(path, "its description is longer than 64 MiB")
        root = described.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            _refuse(path, "it is of a big-endian machine")
        with archive.open(described) as file:
            state = _Unpickler(file).load()
    except FAILURES as error:
        raise ModelFileError(f"{path.name} is not a sound file of PyTorch weights ({_short(error)}); get another.") from None
    inner = state.get("state_dict") if isinstance(state, dict) else None
    state = inner if isinstance(inner, dict) else state
    if not isinstance(state, dict) or len(state) > MAX_TENSORS:
        _refuse(path, "it does not hold tensors by their names")
    found = [_placed(name, value, root, archive, path) for name, value in state.items() if isinstance(value, _Tensor)]
    if not found:
        _refuse(path, "there are no tensors in it")
    return found


class _Unpickler(pickle.Unpickler):
    """Builds what describes tensors and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) in known:
            return known[module, name]
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}, which is refused")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, (dtype, item_bytes), key, _, num_items = pid
        if kind != "storage" or type(key) is not str or type(num_items) is not int or not key.isalnum():
            raise pickle.UnpicklingError("a storage that is none")
        return _Storage(dtype, item_bytes, key, num_items)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or not _are_counts((offset, *shape, *stride)) or len(shape) != len(stride):
        raise pickle.UnpicklingError("a tensor that is none")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _are_counts(values: tuple[Any, ...]) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _placed(name: Any, tensor: _Tensor, root: str, archive: zipfile.ZipFile, path: Path) -> PickledTensor:
    storage, num_items = tensor.storage, math.prod(tensor.shape)
    member = f"{root}data/{storage.key}"
    if not isinstance(name, str) or not _is_contiguous(tensor):
        _refuse(path, f"its tensor {name!r:.80} does not lie in one piece")
    try:
        info = archive.getinfo(member)
    except KeyError:
        _refuse(path, f"the bytes of {name!r:.80} are missing")
    start, num_bytes = tensor.offset * storage.item_bytes, num_items * storage.item_bytes
    if info.compress_type != zipfile.ZIP_STORED or start + num_bytes > info.file_size:
        _refuse(path, f"the bytes of {name!r:.80} are not all there")
    return PickledTensor(name, storage.dtype, tensor.shape, member, start, num_bytes)


def _is_contiguous(tensor: _Tensor) -> bool:
    expected = 1
    for length, stride in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


def _refuse(path: Path, why: str) -> NoReturn:
    raise ModelFileError(f"{path.name} cannot be converted: {why}; get the model as safetensors or GGUF.")


def _short(error: BaseException) -> str:
    return str(error).rstrip(".")[:120] or type(error).__name__
