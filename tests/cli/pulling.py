"""`publican` as a process of its own, whose hub is on loopback."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from tests.store.fake_hub import FakeHub


def environment(hub: FakeHub, home: Path, **more: str) -> dict[str, str]:
    ours = ("PUBLICAN_", "HF_", "HUGGING_FACE", "http", "HTTP", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "XDG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"HF_ENDPOINT": hub.endpoint, "HOME": str(home), "PUBLICAN_MODELS_DIR": str(home / "models")} | more


def start(hub: FakeHub, home: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "publican", *words],
        cwd=home,
        env=environment(hub, home, **more) | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(hub: FakeHub, home: Path, *words: str, **more: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    with start(hub, home, *words, **more) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def invoke(name: str, hub: FakeHub | None, home: Path, *words: str, **more: str) -> Result:
    """The command in this process, with an environment of its own; errors of ours are raised."""
    command = importlib.import_module(f"publican.cli.{name}").command
    wanted: dict[str, str | None] = dict.fromkeys(name for name in os.environ if name.startswith(("PUBLICAN_", "HF_")))
    wanted |= {"HOME": str(home), "PUBLICAN_MODELS_DIR": str(home / "models"), "COLUMNS": "200"} | more
    if hub is not None:
        wanted["HF_ENDPOINT"] = hub.endpoint
    result = CliRunner().invoke(command, list(words), env=wanted)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
