"""Makes the library from `src/`: the same kernels once per instruction set, everything else once for any CPU.

Standard library only, and imports nothing of publican: the build hook (hatch_build.py) runs it from a source tree that is not
installed yet, `scripts/sanitize.py` with other flags, and developers as ``python publican/executors/native/cpu/compile.py``.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = FOLDER / "src"
LIBRARY_NAME = {"win32": "publican_cpu.dll", "darwin": "libpublican_cpu.dylib"}.get(sys.platform, "libpublican_cpu.so")
ZIG = "ziglang>=0.13"
"""The compiler from the Python index, for where there is none."""

_PLAIN = ("team", "features", "pack", "plan", "check", "api")
_AVX512 = "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
_VARIANTS = {
    "x86_64": {
        "avx512_bf16": f"{_AVX512} -mavx512bf16",
        "avx512_vnni": _AVX512,
        "avx2_vnni": "-mavx2 -mfma -mf16c -mavxvnni",
        "avx2": "-mavx2 -mfma -mf16c",
        "portable": "",
    },
    "aarch64": {"neon_dot": "-mcpu=generic+dotprod", "portable": ""},
}
# Contracting a·b + c into one rounding would depend on how the compiler vectorised a loop: results must not.
_FLAGS = "-std=c++17 -O3 -fvisibility=hidden -ffp-contract=off -fno-math-errno -Wall -Wextra"
_QUIET = "-Wno-psabi -Wno-ignored-attributes -Wno-unknown-pragmas -Wno-unknown-warning-option -Wno-maybe-uninitialized"


class NoCompiler(Exception):
    """No C++ compiler is here."""


class CompileFailed(Exception):
    """The compiler said no; the text is what it said."""


@dataclass(frozen=True)
class Compiler:
    """How to call one.

    Attributes:
        command: the words before the flags.
        is_zig: it takes the machine's own instructions unless told a target, and traps undefined behaviour.
    """

    command: tuple[str, ...]
    is_zig: bool = False


def find_compiler() -> Compiler:
    """$CXX, else c++, g++ or clang++ from the path, else zig from the Python index. On Windows $CXX or zig.

    Raises:
        NoCompiler: none of them is there.
    """
    named = os.environ.get("CXX")
    if named:
        command = tuple(shlex.split(named))
        if not shutil.which(command[0]):
            raise NoCompiler(f"$CXX is {named!r}, and there is no such program")
        return Compiler(command, is_zig="zig" in named)
    # On Windows these names are one of several things, with run-time libraries that are elsewhere; zig brings what it needs.
    for name in () if sys.platform == "win32" else ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path:
            return Compiler((path,))
    zig = subprocess.run([sys.executable, "-m", "ziglang", "version"], capture_output=True, check=False)
    if zig.returncode == 0:
        return Compiler((sys.executable, "-m", "ziglang", "c++"), is_zig=True)
    raise NoCompiler("no C++ compiler was found (looked for $CXX, c++, g++, clang++ and ziglang)")


def source_hash() -> str:
    """Of everything that the library is made from, and what for."""
    digest = hashlib.sha256(f"{sys.platform} {architecture()}".encode())
    for path in sorted([*SOURCES.iterdir(), Path(__file__)]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def is_current(library: Path) -> bool:
    """Whether a library is there and was made from these very sources."""
    return library.exists() and source_hash().encode() in library.read_bytes()


def architecture() -> str:
    """`x86_64` or `aarch64`: what the library is compiled for. macOS wheels name another by $ARCHFLAGS."""
    flags = os.environ.get("ARCHFLAGS", "")
    if sys.platform == "darwin" and ("arm64" in flags) != ("x86_64" in flags):
        return "aarch64" if "arm64" in flags else "x86_64"
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def compile_library(target: Path, compiler: Compiler | None = None, extra_flags: Sequence[str] = ()) -> None:
    """Compile and link `target`, replacing it at once when all is well.

    Raises:
        NoCompiler, CompileFailed.
    """
    compiler = compiler or find_compiler()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = _compile_commands(compiler, folder, extra_flags)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(_call, commands.values()))
        part = folder / target.name
        _call(_link_command(compiler, list(commands), part, extra_flags))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(part, beside)
        beside.replace(target)


def _compile_commands(compiler: Compiler, folder: Path, extra_flags: Sequence[str]) -> dict[Path, list[str]]:
    """The command for each object file, those that take longest first."""
    usual = [*_target_flags(compiler), *_FLAGS.split(), *_QUIET.split(), *extra_flags]
    if sys.platform != "win32":
        usual.append("-fPIC")
    commands = {}
    for variant, flags in _VARIANTS.get(architecture(), {"portable": ""}).items():
        named = [*flags.split(), f"-DPCPU_VARIANT={variant}"]
        out = folder / f"kernels_{variant}.o"
        commands[out] = [*compiler.command, *usual, *named, "-c", str(SOURCES / "kernels.cpp"), "-o", str(out)]
    for stem in _PLAIN:
        named = [f'-DPCPU_SOURCE_HASH="{source_hash()}"'] if stem == "api" else []
        out = folder / f"{stem}.o"
        commands[out] = [*compiler.command, *usual, *named, "-c", str(SOURCES / f"{stem}.cpp"), "-o", str(out)]
    return commands


def _link_command(compiler: Compiler, objects: Sequence[Path], out: Path, extra_flags: Sequence[str]) -> list[str]:
    flags = ["-shared", *_target_flags(compiler), *extra_flags]
    if compiler.is_zig:
        flags.append("-s")
    if sys.platform == "linux" and not compiler.is_zig:
        flags += ["-pthread", "-static-libgcc", "-static-libstdc++", "-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic"]
    return [*compiler.command, *flags, *map(str, objects), "-o", str(out)]


def _target_flags(compiler: Compiler) -> list[str]:
    if sys.platform == "darwin":
        return ["-arch", {"aarch64": "arm64"}.get(architecture(), architecture()), "-mmacosx-version-min=11.0"]
    if not compiler.is_zig:
        return []
    system = {"win32": "windows-gnu", "linux": "linux-gnu.2.17"}.get(sys.platform, sys.platform)
    return ["-target", f"{architecture()}-{system}", "-fno-sanitize=undefined"]


def _call(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompileFailed(f"{command[0]} cannot be started: {error}") from error
    if done.returncode:
        raise CompileFailed(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    compile_library(FOLDER / LIBRARY_NAME)
