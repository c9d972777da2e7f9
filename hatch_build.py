"""Build hook: compiles the C++ operations of `publican.executors.native.cpu` when publican is built or installed.

Runs for wheels, `pip install .` and `pip install -e .` alike; the library lands beside its Python files and makes the wheel one
of this platform. Where there is no C++ compiler, the one from the Python index is asked for as a build dependency; where that
does not help either, the install goes on without, says so in one line, and the plain NumPy backend takes over.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = Path("publican", "executors", "native", "cpu")


class CpuLibraryHook(BuildHookInterface):
    """What hatchling calls; `custom` in pyproject.toml names this file."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        compiling = _compiling(Path(self.root))
        try:
            compiling.find_compiler()
        except compiling.NoCompiler:
            return [compiling.ZIG]
        return []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        compiling = _compiling(Path(self.root))
        library = Path(self.root) / _FOLDER / compiling.LIBRARY_NAME
        try:
            if not compiling.is_current(library):
                compiling.compile_library(library)
        except (compiling.NoCompiler, compiling.CompileFailed) as error:
            library.unlink(missing_ok=True)
            self.app.display_warning(f"publican: the C++ operations are left out, the slow plain backend takes over: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform_tag(compiling.architecture())}"
        build_data["artifacts"].append((_FOLDER / library.name).as_posix())


def _compiling(root: Path) -> ModuleType:
    """compile.py, loaded by path: publican itself is not importable in a build environment."""
    spec = importlib.util.spec_from_file_location("publican_cpu_compile", root / _FOLDER / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _platform_tag(architecture: str) -> str:
    """The library knows nothing of Python, so only the platform counts; cibuildwheel makes manylinux of linux."""
    if sys.platform == "darwin":
        return f"macosx_11_0_{'arm64' if architecture == 'aarch64' else architecture}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
