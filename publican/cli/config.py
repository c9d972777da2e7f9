"""`publican config`: what is in force, and why."""

from __future__ import annotations

from typing import Any

import click
from pydantic import SecretStr

from publican.cli.options import load_settings, models_dir, settings_options


@click.command("config")
@settings_options()
def command(**flags: Any) -> None:
    """Print the effective settings, and where each came from."""
    loaded = load_settings(flags)
    rows = []
    for name, source in loaded.sources.items():
        value = getattr(loaded.values, name)
        if name == "models_dir":
            value = models_dir(loaded.values)
        rows.append((name, _shown(value), source))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for name, value, source in rows:
        click.echo(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}")


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    return str(value)
