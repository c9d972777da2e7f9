#!/usr/bin/env python3
"""Start publican on a machine that has nothing but Python: `python3 start.py`.

Makes `.venv`, installs what this machine needs, and serves. Started again it is up in seconds and downloads nothing.
Standard library only; the rest of publican is not imported here, for it may not be installed yet.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = (3, 11)
PATIENCE_S = 60.0
"""With a driver that does not answer."""

COMMANDS = ("serve", "chat", "pull", "show", "list", "verify", "rm", "fit", "config", "bench")

EPILOG = """\
Everything else is passed on to `publican serve`, for instance:

  python3 start.py --listen                     for friends: all addresses, with a key
  python3 start.py --port 8000 --ctx 4096
  python3 start.py path/to/model.gguf

`python3 start.py serve --help` lists all of it. Other commands work too: `python3 start.py chat`, `… pull`, `… fit`, `… list`,
`… config`, `… bench`.
"""


def main() -> int:
    if sys.version_info < OLDEST:
        have = ".".join(map(str, sys.version_info[:3]))
        return fail(
            f"publican needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and this is {have}; install a newer one and use it here."
        )
    parser = argparse.ArgumentParser(
        description="Install publican into .venv beside this file (once), then serve a model.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--cpu-only", action="store_true", help="do not install torch and triton, even with an NVIDIA card")
    parser.add_argument("--with-llama", action="store_true", help="also install libllama's binding (compiles for some minutes)")
    parser.add_argument("--reinstall", action="store_true", help="make .venv anew")
    options, rest = parser.parse_known_args()
    extras = []
    if not options.cpu_only and has_nvidia_driver():
        extras.append("cuda")
    if options.with_llama:
        extras.append("llama")
    try:
        python = install(HERE / ".venv", extras, options.reinstall)
    except subprocess.CalledProcessError as error:
        return fail(
            f"the installation stopped with exit status {error.returncode}; the lines above say why. Mend that and start again."
        )
    except KeyboardInterrupt:
        say("stopped; start again to go on")
        return 130
    except OSError as error:
        return fail(f"{error.filename or HERE}: {error.strerror}.")
    if not rest or rest[0] not in COMMANDS:
        rest = ["serve", *rest]
    return run([str(python), "-m", "publican", *rest])


def has_nvidia_driver(patience_s: float = PATIENCE_S) -> bool:
    """Whether an NVIDIA driver is there; a card without its driver, or whose driver hangs, is of no use to torch."""
    if not shutil.which("nvidia-smi"):
        return Path("/proc/driver/nvidia/version").exists()
    try:
        process = subprocess.Popen(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        say(f"nvidia-smi cannot be started ({error.strerror}), so this goes on as without an NVIDIA card")
        return False
    try:
        return listed(process, patience_s).startswith(b"GPU")
    except subprocess.TimeoutExpired:
        process.kill()  # and not waited for: whoever hangs in a driver does not die of this
        say(
            f"nvidia-smi did not answer in {patience_s:.0f} s, so this goes on as without an NVIDIA card; "
            "when it answers again (a restart of the machine mostly helps), start publican again"
        )
        return False


def listed(process: subprocess.Popen[bytes], patience_s: float) -> bytes:
    """What nvidia-smi prints. Cards that slept may take half a minute to wake up, and the newcomer hears of it."""
    try:
        return process.communicate(timeout=min(5.0, patience_s))[0]
    except subprocess.TimeoutExpired:
        say("waiting for nvidia-smi, which looks for NVIDIA cards")
    return process.communicate(timeout=max(0.0, patience_s - 5.0))[0]


def install(folder: Path, extras: list[str], anew: bool) -> Path:
    """The Python of an environment that has what pyproject.toml asks for; does nothing if it has it already."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "publican-installed"
    had = set(stamp.read_text().split()[1:]) if stamp.exists() else set()
    wanted = sorted(had.union(extras))
    state = " ".join([fingerprint(), *wanted])
    if not anew and python.exists() and stamp.exists() and stamp.read_text() == state:
        return python
    if anew or not python.exists():
        say(f"making {folder}")
        make_environment(folder)
    say("installing publican" + (f" with {' and '.join(wanted)}" if wanted else "") + " (once; pip shows what it downloads)")
    if "llama" in wanted:
        say("libllama's binding compiles for about five minutes")
    target = f"{HERE}[{','.join(wanted)}]" if wanted else str(HERE)
    constraints = ["--constraint", str(HERE / "constraints.txt")]
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--editable", target, *constraints]
    subprocess.run(pip, check=True)
    stamp.write_text(state)
    return python


def make_environment(folder: Path) -> None:
    try:
        venv.create(folder, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(folder, ignore_errors=True)
        say("this Python cannot make environments with pip; on Debian and Ubuntu: sudo apt install python3-venv")
        raise


def fingerprint() -> str:
    """Changes when what must be installed, or built, changes."""
    parts = [sys.version.encode(), *(path.read_bytes() for path in inputs())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def inputs() -> list[Path]:
    sources = (HERE / "publican" / "executors" / "native" / "cpu").rglob("*")
    native = sorted(path for path in sources if path.suffix in (".cpp", ".h", ".inc"))
    names = ("pyproject.toml", "constraints.txt", "hatch_build.py")
    return [HERE / name for name in names if (HERE / name).exists()] + native


def run(command: list[str]) -> int:
    """Become that command where the system can, so that signals go straight to it."""
    if os.name == "posix":
        os.execv(command[0], command)
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130


def say(text: str) -> None:
    print(f"publican: {text}", flush=True)


def fail(text: str) -> int:
    print(f"publican: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
