"""Finds libllama, through llama-cpp-python's module of plain C declarations, whose struct layouts belong to its build."""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from publican.core.errors import UnsupportedModel
from publican.executors.llama.log import library_log

_INSTALL = "pip install 'publican[llama]'"


def load_library() -> Any:
    """The module ``llama_cpp.llama_cpp``, initialised, with its log in ours.

    Raises:
        UnsupportedModel: it is not installed, or does not work; the text says what to do.
    """
    try:
        with _patient_threads():
            library = importlib.import_module("llama_cpp.llama_cpp")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "llama_cpp":
            raise UnsupportedModel(f"libllama's Python package lacks {error.name!r}; run {_INSTALL}.") from error
        raise UnsupportedModel(f"The loader llama needs libllama, which is not installed; run {_INSTALL}.") from error
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise UnsupportedModel(f"libllama is installed but does not load ({error}); reinstall it with {_INSTALL}.") from error
    library_log(library)
    library.llama_backend_init()
    return library


@contextmanager
def _patient_threads() -> Iterator[None]:
    """Whoever loads GNU's OpenMP in here gets threads that soon stop spinning while they wait for each other.

    It reads this once, when it is loaded, and takes it from nowhere else. By default threads spin for milliseconds, and if
    anybody else wants a core, the one that all wait for is the one that does not run: on two cores beside busy processes
    prompts took 3 to 15 times as long, and answers 2 to 8 times. Where nobody else wants anything this costs 2 to 7 %.
    """
    if os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def set_fields(struct: ctypes.Structure, **values: object) -> None:
    """Assign to `struct`. ctypes takes an unknown name for a new attribute and says nothing, so this one asks first.

    Raises:
        UnsupportedModel: this libllama has no such field; its version is not one that we know.
    """
    known = {field[0] for field in struct._fields_}
    for name, value in values.items():
        if name not in known:
            raise UnsupportedModel(f"This version of libllama has no setting {name!r}; install one that fits: {_INSTALL}.")
        setattr(struct, name, value)
