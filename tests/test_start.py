"""start.py before anything is installed: what it says, what it would install, when it installs again."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

import start
from publican.cli import _COMMANDS


def test_help_says_what_it_passes_on():
    command = [sys.executable, "-S", "-I", str(start.HERE / "start.py"), "--help"]  # -S: nothing but the standard library
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for said in ("publican serve", "--listen", "--cpu-only", "--with-llama"):
        assert said in out


def test_its_fingerprint_follows_what_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("pyproject.toml", "constraints.txt", "hatch_build.py"):
        (tmp_path / name).write_text(name)
    sources = tmp_path / "publican" / "executors" / "native" / "cpu"
    sources.mkdir(parents=True)
    (sources / "a.cpp").write_text("int a;")
    monkeypatch.setattr(start, "HERE", tmp_path)
    before = start.fingerprint()
    assert start.fingerprint() == before
    (sources / "notes.md").write_text("of no effect")
    assert start.fingerprint() == before
    (sources / "a.cpp").write_text("int b;")
    after_source = start.fingerprint()
    (tmp_path / "constraints.txt").write_text("other")
    assert len({before, after_source, start.fingerprint()}) == 3


def test_started_again_it_installs_nothing_and_keeps_its_extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    ran: list[list[str]] = []
    monkeypatch.setattr(start.subprocess, "run", lambda command, check: ran.append(command))
    monkeypatch.setattr(start, "make_environment", lambda folder: (folder / "bin").mkdir(parents=True))
    monkeypatch.setattr(start.os, "name", "posix")
    folder = tmp_path / ".venv"
    python = start.install(folder, ["llama"], anew=False)
    python.touch()
    assert len(ran) == 1
    assert any(word.endswith("[llama]") for word in ran[0])
    assert start.install(folder, [], anew=False) == python
    assert len(ran) == 1, "what was installed with an extra has what is wanted without"
    start.install(folder, ["cuda"], anew=False)
    assert any(word.endswith("[cuda,llama]") for word in ran[1])


def test_it_knows_every_command():
    assert set(start.COMMANDS) == set(_COMMANDS)


def test_the_constraints_hold_for_all_that_is_wanted():
    """Each dependency that pyproject.toml names has its tested version."""
    import re
    import tomllib

    project = tomllib.loads((start.HERE / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    wanted += [name for names in project["project"]["optional-dependencies"].values() for name in names]
    names = {re.match(r"[\w.-]+", word)[0].lower().replace("_", "-") for word in wanted}
    lines = (start.HERE / "constraints.txt").read_text().splitlines()
    assert names <= {line.partition("==")[0] for line in lines}


def test_ctrl_c_in_mid_installation_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def interrupted(*args) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "install", interrupted)
    monkeypatch.setattr(start.sys, "argv", ["start.py", "--cpu-only"])
    assert start.main() == 130
    assert "start again" in capsys.readouterr().out


def an_nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for nvidia-smi")
@pytest.mark.parametrize(
    ("script", "said"),
    [("echo 'GPU 0: a card'", True), ("echo 'No devices were found'", False), ("echo failed >&2; exit 9", False)],
)
def test_a_card_is_seen_where_its_driver_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: bool
) -> None:
    an_nvidia_smi(tmp_path, script, monkeypatch)
    assert start.has_nvidia_driver() is said


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for nvidia-smi")
def test_a_driver_that_hangs_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    an_nvidia_smi(tmp_path, "exec sleep 60", monkeypatch)
    processes = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        start.subprocess, "Popen", lambda *args, **named: processes.append(popen(*args, **named)) or processes[0]
    )
    began = time.monotonic()
    assert not start.has_nvidia_driver(patience_s=0.2)
    assert time.monotonic() - began < 20
    assert "as without an NVIDIA card" in capsys.readouterr().out
    processes[0].communicate(timeout=30)  # it was killed


@pytest.mark.skipif(sys.platform == "win32", reason="the rights of a file")
def test_an_nvidia_smi_that_cannot_be_started_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    an_nvidia_smi(tmp_path, "", monkeypatch)
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF, but not for this machine")
    assert not start.has_nvidia_driver()
    assert "cannot be started" in capsys.readouterr().out


def test_a_step_of_the_tests_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("publican_test_script", start.HERE / "test.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "LIMIT_S", 0.3)
    assert not script.passes([sys.executable, "-c", "import time; time.sleep(60)"])
    assert "stopped" in capsys.readouterr().out
