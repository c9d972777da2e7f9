"""Writes the tensors of a pickle as safetensors, byte for byte. Blocks on the disk, for about a second a gigabyte."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from publican.core.errors import ModelFileError
from publican.store.pickles.reading import FAILURES, PickledTensor, read_pickle
from publican.store.transfer.hashing import Digest

_CHUNK_BYTES = 1 << 20
_ALIGNMENT = 8


def converted_name(name: str) -> str:
    """``pytorch_model-00001-of-00002.bin`` becomes ``model-00001-of-00002.safetensors``."""
    stem = name.rsplit(".", 1)[0]
    return f"{stem.removeprefix('pytorch_')}.safetensors"


def convert(path: Path, target: Path) -> tuple[int, Digest]:
    """Write the tensors in `path` to `target`, in one step at the end; returns its size and hash.

    Raises:
        ModelFileError: `path` is not a sound file of weights, or the disk refuses.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        if not zipfile.is_zipfile(path):
            raise ModelFileError(
                f"{path.name} is of a PyTorch before 1.6 (or of none), which cannot be converted; get the model as safetensors."
            )
        with zipfile.ZipFile(path) as archive:
            tensors = read_pickle(archive, path)
            with part.open("wb") as file:
                num_bytes, digest = _write(archive, tensors, file)
                file.flush()
                os.fsync(file.fileno())
        part.replace(target)
    except FAILURES as error:
        raise ModelFileError(f"{path.name} is damaged ({str(error)[:120]}); get another copy.") from None
    except OSError as error:
        raise ModelFileError(f"{target} cannot be written: {error.strerror or error}.") from None
    finally:
        part.unlink(missing_ok=True)
    return num_bytes, digest


def _write(archive: zipfile.ZipFile, tensors: Sequence[PickledTensor], file: IO[bytes]) -> tuple[int, Digest]:
    """Tensors that share their bytes (tied ones) are written twice: safetensors shares nothing."""
    entries, at = {}, 0
    for tensor in tensors:
        place = [at, at + tensor.num_bytes]
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": place}
        at += tensor.num_bytes
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    running = hashlib.sha256()

    def put(data: bytes) -> None:
        running.update(data)
        file.write(data)

    put(len(header).to_bytes(8, "little") + header)
    for tensor in tensors:
        with archive.open(tensor.member) as source:
            source.seek(tensor.start)
            left = tensor.num_bytes
            while left > 0:
                data = source.read(min(left, _CHUNK_BYTES))
                if not data:
                    raise EOFError(f"{tensor.name} ends early")
                put(data)
                left -= len(data)
    return 8 + len(header) + at, Digest("sha256", running.hexdigest())
