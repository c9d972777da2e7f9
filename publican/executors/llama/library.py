"""Finds libllama, through llama-cpp-python's module of plain C declarations, whose struct layouts belong to its build."""

from __future__ import annotations

import ctypes
import importlib
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
