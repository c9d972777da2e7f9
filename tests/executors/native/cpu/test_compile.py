"""Finding a compiler, and what happens without one. That compiling works, the other tests show."""

from __future__ import annotations

import importlib.util
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from publican.executors.native.cpu import compile as compiling

ROOT = Path(__file__).parents[4]


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without compilers; returns a folder that is its whole path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sys, "executable", str(_script(folder / "python-without-zig", "exit 1")))
    return folder


def _script(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes shell scripts")


def test_no_compiler(nothing: Path) -> None:
    with pytest.raises(compiling.NoCompiler, match="ziglang"):
        compiling.find_compiler()


def test_the_order_of_compilers(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(_script(nothing / "python-with-zig", "exit 0")))
    assert compiling.find_compiler().is_zig
    gxx = _script(nothing / "g++", "exit 0")
    assert compiling.find_compiler() == compiling.Compiler((str(gxx),))
    monkeypatch.setenv("CXX", "ccache clang++ -v")
    with pytest.raises(compiling.NoCompiler, match="there is no such program"):
        compiling.find_compiler()
    _script(nothing / "ccache", "exit 0")
    assert compiling.find_compiler().command == ("ccache", "clang++", "-v")


def test_a_failing_compiler_says_why(tmp_path: Path) -> None:
    bad = compiling.Compiler((str(_script(tmp_path / "bad", "echo it hurts >&2; exit 3")),))
    with pytest.raises(compiling.CompileFailed, match="it hurts"):
        compiling.compile_library(tmp_path / "out.so", bad)
    with pytest.raises(compiling.CompileFailed, match="cannot be started"):
        compiling.compile_library(tmp_path / "out.so", compiling.Compiler((str(tmp_path / "none"),)))
    assert not (tmp_path / "out.so").exists()


def test_zig_is_kept_from_this_machine_alone() -> None:
    """Left to itself it would compile for the CPU it runs on."""
    flags = compiling._target_flags(compiling.Compiler(("zig",), is_zig=True))
    if sys.platform.startswith("linux"):
        assert flags[:2] == ["-target", f"{compiling.architecture()}-linux-gnu.2.17"]
    assert not any("native" in flag for flag in [*flags, *compiling._FLAGS.split()])


def test_current(tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    assert not compiling.is_current(library)
    library.write_bytes(b"some" + compiling.source_hash().encode() + b"thing")
    assert compiling.is_current(library)
    library.write_bytes(b"else")
    assert not compiling.is_current(library)


def load_hook() -> Any:
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class App:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)


def test_the_build_goes_on_without_a_compiler(nothing: Path, tmp_path: Path) -> None:
    """One clear line, no library, a wheel for any platform; and zig is asked for beforehand."""
    folder = tmp_path / "tree" / "publican" / "executors" / "native" / "cpu"
    (folder / "src").mkdir(parents=True)
    (folder / "compile.py").write_text(Path(compiling.__file__).read_text())
    (folder / "src" / "api.cpp").write_text("")
    stale = folder / compiling.LIBRARY_NAME
    stale.write_bytes(b"of older sources")
    app = App()
    hook = load_hook().CpuLibraryHook(str(tmp_path / "tree"), {}, None, None, str(tmp_path), "wheel", app)
    assert hook.dependencies() == [compiling.ZIG]
    data: dict[str, Any] = {"artifacts": [], "pure_python": True}
    hook.initialize("standard", data)
    assert data == {"artifacts": [], "pure_python": True}
    assert len(app.warnings) == 1
    assert "plain backend takes over" in app.warnings[0]
    assert not stale.exists()


def test_the_build_takes_a_current_library(tmp_path: Path) -> None:
    folder = tmp_path / "publican" / "executors" / "native" / "cpu"
    (folder / "src").mkdir(parents=True)
    (folder / "compile.py").write_text(Path(compiling.__file__).read_text())
    module = load_hook()
    made = module._compiling(tmp_path)
    (folder / made.LIBRARY_NAME).write_bytes(made.source_hash().encode())
    hook = module.CpuLibraryHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel", App())
    data: dict[str, Any] = {"artifacts": [], "pure_python": True}
    hook.initialize("editable", data)
    assert data["artifacts"] == [f"publican/executors/native/cpu/{made.LIBRARY_NAME}"]
    assert data["pure_python"] is False
    assert data["tag"].startswith("py3-none-")
