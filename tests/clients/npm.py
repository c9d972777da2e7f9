"""Packages from the npm registry, installed once into the tests' cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

OLDEST_NODE = 20


def node_package(folder: Path, *packages: str) -> Path:
    """The `node_modules` of `folder` with `packages` (``name@version``) in it.

    Skips where there is no Node, or no registry to install them from.
    """
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("clients in JavaScript need node and npm")
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    if int(node.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"clients in JavaScript need node {OLDEST_NODE}, here is {node.strip()}")
    modules = folder / "node_modules"
    if all(_version(modules, package.rpartition("@")[0]) == package.rpartition("@")[2] for package in packages):
        return modules
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", *packages, "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if made.returncode:
        pytest.skip(f"{' '.join(packages)} could not be installed: {made.stderr[-300:]}")
    return modules


def _version(modules: Path, name: str) -> str:
    described = modules / name / "package.json"
    return str(json.loads(described.read_text())["version"]) if described.exists() else ""
