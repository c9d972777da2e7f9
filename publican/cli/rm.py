"""`publican rm`: delete models, after asking."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from publican.cli.options import load_settings, models_dir, settings_options
from publican.cli.plain import printable, size
from publican.cli.stored import find_here
from publican.core.errors import SettingsError
from publican.store.catalogue import StoredModel
from publican.store.disk import disk_bytes, remove_unfinished, unfinished_bytes
from publican.store.remove import behind_link, remove_model


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
    models = dict.fromkeys(find_here(name, folder) for name in names)  # all are known before the first goes
    for model in models:
        if model.link is not None and not model.link.is_symlink():
            click.echo(f"{printable(model.name)} is gone from the list with its link.")
            continue
        _ask(f"Delete {printable(model.name)} ({_what_goes(model, folder)})?", yes)
        said = _gone(model)
        remove_model(model, folder, with_others=True)
        click.echo(said)
    if unfinished:
        _ask(f"Forget unfinished downloads ({size(unfinished_bytes(folder))})?", yes)
        click.echo(f"{size(remove_unfinished(folder))} are free again.")


def _what_goes(model: StoredModel, folder: Path) -> str:
    if model.link is None:
        return size(disk_bytes(model))
    others = [printable(other.name, 60) for other in behind_link(model, folder)]
    more = ", …" if len(others) > 4 else ""
    too = f", through which {', '.join(others[:4])}{more} {'is' if len(others) == 1 else 'are'} found too" if others else ""
    return f"only the link {printable(str(model.link))}{too}"


def _gone(model: StoredModel) -> str:
    """What to say when it has been deleted; asked before, while its link leads somewhere."""
    if model.link is None:
        return f"{printable(model.name)} is gone."
    target = printable(str(model.link.resolve()))
    return f"{printable(model.name)} is gone: the link {printable(str(model.link))} was removed, and {target} is as it was."


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{question} There is nobody to answer; add --yes to mean it.")
    click.confirm(question, abort=True)
