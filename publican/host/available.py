"""What could run a model on this machine: which libraries are here, and whether native has anything against it.

Called on threads; loads our C++ library once, and neither torch nor libllama.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from publican.core.errors import ModelFileError
from publican.core.model import Checkpoint
from publican.executors.native.cpu.library import LibraryMissing, load_library
from publican.executors.native.loading import objection
from publican.hardware.machine import Machine
from publican.host.choose import Available

log = logging.getLogger(__name__)


def available(checkpoint: Checkpoint, machine: Machine) -> Available:
    """For a model whose files are here, on `machine`.

    Raises:
        ModelFileError: they are damaged.
    """
    problem = _cpu_library_problem()
    if problem:
        log.warning("%s Until then native computes in NumPy, which is much slower.", problem)
    return _available(objection(checkpoint), checkpoint, machine)


def available_for_headers(checkpoint: Checkpoint, machine: Machine) -> Available:
    """For a model of which only the headers are known, on `machine`. What only its data could tell counts for nothing.

    Asked for each quant of a repository, so it logs nothing.
    """
    try:
        found = objection(checkpoint)
    except ModelFileError:
        found = None
    return _available(found, checkpoint, machine)


def _available(native_objection: str | None, checkpoint: Checkpoint, machine: Machine) -> Available:
    return Available(
        cuda=_has_torch() and bool(machine.gpus),
        cpu=not _cpu_library_problem(),
        llama=importlib.util.find_spec("llama_cpp") is not None,
        llama_gpu=_llama_has_gpu(),
        native_objection=native_objection,
        is_gguf=checkpoint.format == "gguf",
    )


def _has_torch() -> bool:
    """torch and Triton, which are the worker's to load."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "triton"))


def _cpu_library_problem() -> str:
    """Why our C++ library cannot be used; empty if it can."""
    try:
        load_library()
    except LibraryMissing as error:
        return str(error)
    return ""


def _llama_has_gpu() -> bool:
    """Whether libllama was built for NVIDIA cards: then its library for them lies beside the others. Nothing is loaded."""
    spec = importlib.util.find_spec("llama_cpp")
    places = spec.submodule_search_locations if spec is not None else None
    return any(next(Path(place).glob("lib/*ggml-cuda*"), None) is not None for place in places or ())
