"""Runs the tests of the C++ operations under AddressSanitizer and UndefinedBehaviorSanitizer.

    python scripts/sanitize.py [address] [undefined] [-- pytest's own arguments]

Makes a library of its own beside the usual one's folder, outside the package, and has the tests load it. Python itself is not
instrumented, so AddressSanitizer's run-time library has to be preloaded; leaks are not looked for, Python has its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from publican.executors.native.cpu import compile as compiling  # noqa: E402

TESTS = ROOT / "tests" / "executors" / "native" / "cpu"
FILES = ("test_matmul.py", "test_rowwise.py", "test_attention.py", "test_top.py", "test_refusals.py", "test_team.py")
FLAGS = {
    "address": ["-fsanitize=address"],
    "undefined": ["-fsanitize=undefined", "-fno-sanitize-recover=all"],
}
LIBRARIES = {"address": "libasan.so", "undefined": "libubsan.so"}


def main(arguments: list[str]) -> int:
    split = arguments.index("--") if "--" in arguments else len(arguments)
    names, rest = arguments[:split] or list(FLAGS), arguments[split + 1 :]
    try:
        compiler = compiling.find_compiler()
    except compiling.NoCompiler as error:
        print(f"nothing is sanitized here: {error}")
        return 0
    lacking = [LIBRARIES[name] for name in names if not Path(_runtime(compiler, LIBRARIES[name])).is_absolute()]
    if lacking:
        print(f"nothing is sanitized here: {lacking[0]} is not installed; use g++ with its sanitizers ($CXX).")
        return 0
    return max(_run(compiler, name, rest) for name in names)


def _run(compiler: compiling.Compiler, name: str, pytest_arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / compiling.LIBRARY_NAME
        print(f"{name}: compiling", flush=True)
        compiling.compile_library(library, compiler, [*FLAGS[name], "-O1", "-g", "-fno-omit-frame-pointer"])
        environment = os.environ | {
            "PUBLICAN_TEST_CPU_LIBRARY": str(library),
            "LD_PRELOAD": _runtime(compiler, LIBRARIES[name]),
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0",
            "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
        }
        files = [str(TESTS / file) for file in FILES]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *files, *pytest_arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _runtime(compiler: compiling.Compiler, name: str) -> str:
    """Where the compiler keeps a sanitizer's run-time library; its bare name if it has none."""
    query = [*compiler.command, f"-print-file-name={name}"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
