"""The documents: their links lead somewhere, the names in them exist, the commands in them are commands."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from publican.cli import _COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = "core|store|hardware|engine|executors|host|gateway|apis|bench|cli"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "log.md"], ids=lambda page: page.name)
def test_names_and_paths_exist(page: Path):
    text = page.read_text()
    for name in re.findall(rf"`((?:{ROOMS})(?:\.\w+)+)`", text):
        thing_of(name)
    for path in re.findall(r"`((?:publican|tests|scripts|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def thing_of(name: str) -> object:
    """`host.model.LoadedModel.generate`: a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(["publican", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            thing = getattr(thing, attribute)
        return thing
    raise AssertionError(f"there is no {name}")


def test_the_readme_types_only_commands_that_exist():
    said = re.findall(r"(?:start\.py|publican) ([a-z]+)\b", (ROOT / "README.md").read_text())
    assert set(said) - {"is", "does"} <= set(_COMMANDS)
