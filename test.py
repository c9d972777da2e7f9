#!/usr/bin/env python3
"""Test publican on a machine that has nothing but Python: `python3 test.py`.

Makes `.venv-test`, installs everything that the tests need, then runs the linters, the import contract, the types, the
tests, and those of the C++ operations once more under sanitizers.

`python3 test.py tests/engine -k prefix` passes its arguments on to pytest and runs only that.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import start

VENV = start.HERE / ".venv-test"
LIMIT_S = 5_400.0
"""Of one step. The longest takes ten minutes on two cores: what is not done by then hangs, and must not hang for ever."""


def main() -> int:
    if sys.version_info < start.OLDEST:
        return start.fail("the tests need Python 3.11 or newer.")
    try:
        python = install()
    except subprocess.CalledProcessError as error:
        return start.fail(f"the installation stopped with exit status {error.returncode}; the lines above say why.")
    # Tests run in random order. The seed stands in what is printed, so that a run that failed can be had again.
    seed = f"--randomly-seed={time.time_ns() % 1_000_000}"
    pytest = [[str(python), "-m", "pytest", seed, *sys.argv[1:]]]
    sanitizers = [[str(python), str(start.HERE / "scripts" / "sanitize.py")]] if sys.platform == "linux" else []
    steps = pytest if sys.argv[1:] else [*checks(python), *pytest, *sanitizers]
    failed = [" ".join(step) for step in steps if not passes(step)]
    if failed:
        print("\nfailed:\n  " + "\n  ".join(failed))
        return 1
    print("\nall good")
    return 0


def install() -> Path:
    """The Python of the tests' environment. A stamp says what it has, so that the second run installs nothing."""
    python = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = VENV / "publican-installed"
    if python.exists() and stamp.exists() and stamp.read_text() == start.fingerprint():
        return python
    if not python.exists():
        start.say(f"making {VENV}")
        start.make_environment(VENV)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--progress-bar", "on"]
    constraints = ["--constraint", str(start.HERE / "constraints.txt")]
    start.say("installing torch (CPU), which some tests compare with")
    subprocess.run([*pip, "torch==2.13.0"], check=True)
    start.say("installing publican and the test tools; libllama's binding compiles for about five minutes, once")
    subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
    subprocess.run(
        [*pip, "--editable", f"{start.HERE}[llama]", "--group", f"{start.HERE}/pyproject.toml:test", *constraints], check=True
    )
    stamp.write_text(start.fingerprint())
    return python


def checks(python: Path) -> list[list[str]]:
    bin = python.parent
    return [
        [str(bin / "ruff"), "format", "--check", "."],
        [str(bin / "ruff"), "check", "."],
        [str(bin / "mypy")],
        [str(bin / "lint-imports")],
    ]


def passes(step: list[str]) -> bool:
    print(f"\n$ {' '.join(step)}", flush=True)
    began = time.monotonic()
    try:
        code = subprocess.run(step, cwd=start.HERE, check=False, timeout=LIMIT_S).returncode
    except subprocess.TimeoutExpired:
        print(f"stopped: not done after {LIMIT_S / 60:.0f} minutes", flush=True)
        return False
    print(f"{'ok' if code == 0 else f'exit status {code}'}, {time.monotonic() - began:.0f} s", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
