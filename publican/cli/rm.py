"""`publican rm`: delete models, after asking."""

from __future__ import annotations

import sys
from typing import Any

import click

from publican.cli.options import load_settings, models_dir, settings_options
from publican.cli.plain import printable, size
from publican.core.errors import SettingsError
from publican.store.catalogue import find_model
from publican.store.disk import disk_bytes, remove_unfinished, unfinished_bytes
from publican.store.remove import remove_model


@click.command("rm")
@click.argument("names", nargs=-1, metavar="[MODEL]…")
@click.option("--unfinished", is_flag=True, help="Forget downloads that were stopped and not gone on with.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@settings_options("models_dir")
def command(names: tuple[str, ...], unfinished: bool, yes: bool, **flags: Any) -> None:
    """Delete each MODEL from the models folder. A link goes, and what it leads to stays."""
    folder = models_dir(load_settings(flags).values)
    if not names and not unfinished:
        raise SettingsError("Say which model to delete; 'publican list' has their names.")
    models = [find_model(name, folder) for name in names]  # all are known before the first goes
    for model in models:
        frees = f"{size(disk_bytes(model))}" if not model.path.is_symlink() else "only a link"
        _ask(f"Delete {printable(model.name)} ({frees})?", yes)
        remove_model(model, folder)
        click.echo(f"{printable(model.name)} is gone.")
    if unfinished:
        _ask(f"Forget unfinished downloads ({size(unfinished_bytes(folder))})?", yes)
        click.echo(f"{size(remove_unfinished(folder))} are free again.")


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{question} There is nobody to answer; add --yes to mean it.")
    click.confirm(question, abort=True)
