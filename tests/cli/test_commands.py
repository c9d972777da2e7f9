"""What every command shares: quick help, one-line errors, settings and where they came from."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from publican.cli import _COMMANDS, _group, main

HEAVY = ("torch", "triton", "llama_cpp", "starlette", "transformers", "numpy", "publican.apis", "publican.engine")


def modules_after(code: str) -> set[str]:
    code += "; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_no_room():
    assert not modules_after("from click.testing import CliRunner; from publican.cli import _group") & set(HEAVY)


@pytest.mark.parametrize("module", ["publican.apis.app", "publican.cli.serve", "publican.executors.native"])
def test_neither_the_server_nor_native_loads_torch(module: str):
    assert not modules_after(f"import {module}") & {"torch", "triton", "llama_cpp", "transformers"}


def test_the_front_page_names_every_command():
    out = CliRunner().invoke(_group, ["--help"]).output
    assert all(name in out for name in _COMMANDS)


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_has_help(name: str):
    done = CliRunner().invoke(_group, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output


def test_config_says_where_each_value_came_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "publican.toml").write_text('ctx = 4096\napi_key = "hunter2"\n')
    done = CliRunner().invoke(_group, ["config", "--port", "8123"], env={"PUBLICAN_USERS": "3"})
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in done.output.splitlines()}
    assert rows["port"] == "8123 --port"
    assert rows["users"] == "3 PUBLICAN_USERS"
    assert rows["ctx"].startswith("4096 ")
    assert rows["ctx"].endswith("publican.toml")
    assert rows["listen"] == "no default"
    assert "hunter2" not in done.output


def test_a_misspelt_variable_is_a_line_on_stderr(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(_group, ["config"], env={"PUBLICAN_PROT": "1"})
    assert done.exit_code == 0
    assert "did you mean PUBLICAN_PORT?" in done.stderr
    assert "PROT" not in done.stdout


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["serv"], 2, "No such command"),
        (["serve", "--port", "many"], 2, "port"),
        (["serve", "--port", "70000"], 1, "port"),
        (["chat", "http://127.0.0.1:1"], 1, "start one with 'publican serve'"),
    ],
)
def test_an_error_is_said_without_a_traceback(args, status, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == status
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err
