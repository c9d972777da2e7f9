"""The compiled library, made when it is missing or older than its sources, and an engine for each variant of it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from publican.core.errors import EngineError
from publican.executors.native.cpu import compile as compiling
from publican.executors.native.cpu.library import Engine, load_library

ALL_VARIANTS = ("avx512_bf16", "avx512_vnni", "avx2_vnni", "avx2", "neon_dot", "portable")


@pytest.fixture(scope="session")
def library() -> ctypes.CDLL:
    """PUBLICAN_TEST_CPU_LIBRARY names another one, made with sanitizers (scripts/sanitize.py)."""
    given = os.environ.get("PUBLICAN_TEST_CPU_LIBRARY")
    if given:
        return load_library(Path(given))
    path = compiling.FOLDER / compiling.LIBRARY_NAME
    if not compiling.is_current(path):
        try:
            compiling.compile_library(path)
        except compiling.NoCompiler as error:
            pytest.skip(str(error))
    return load_library(path)


@pytest.fixture(scope="session", params=ALL_VARIANTS)
def engine(request: pytest.FixtureRequest, library: ctypes.CDLL) -> Iterator[Engine]:
    """Three threads, so that odd splits occur; skipped where this CPU cannot run the variant."""
    try:
        made = Engine(library, 3, request.param)
    except EngineError:
        pytest.skip(f"this CPU cannot run {request.param}")
    yield made
    made.close()


@pytest.fixture(scope="session")
def any_engine(library: ctypes.CDLL) -> Iterator[Engine]:
    """The best variant, for what does not depend on it."""
    made = Engine(library, 2)
    yield made
    made.close()
