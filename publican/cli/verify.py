"""`publican verify`: read every byte of models and compare it with what it should be; put right what is not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from publican.cli.network import network_from, network_options
from publican.cli.options import load_settings, models_dir, settings_options
from publican.cli.plain import printable, size
from publican.cli.pull_progress import Bars, byte_columns
from publican.cli.stored import find_here
from publican.core.errors import PublicanError
from publican.store.catalogue import StoredModel, list_models, model_files
from publican.store.checkpoint import open_checkpoint
from publican.store.default_model import DEFAULT_MODEL
from publican.store.http.network import Network
from publican.store.manifest import MANIFEST, Manifest, ManifestFile, read_manifest
from publican.store.pull.check import Checked, check_file
from publican.store.pull.repair import repair
from publican.store.transfer.hashing import Digest

_MARKS = {
    "right": "[green]✓[/]",
    "wrong": "[bold red]✗[/]",
    "missing": "[bold red]✗[/]",
    "unknown": "[yellow]?[/]",
}


@click.command("verify")
@click.argument("names", nargs=-1, metavar="[MODEL]…")
@click.option("--repair", "mend", is_flag=True, help="Fetch again what is wrong: the bad megabytes, not the whole file.")
@network_options
@settings_options("models_dir")
@click.pass_context
def command(context: click.Context, /, names: tuple[str, ...], mend: bool, **flags: Any) -> None:
    """Hold every file of each MODEL (all, if none is named) to its SHA-256. The exit status is 1 if one is wrong."""
    network = network_from(os.environ, Path.home(), flags)
    folder = models_dir(load_settings(flags).values)
    models = [find_here(name, folder, allow_path=True) for name in names] or list_models(folder)
    console = Console(highlight=False)
    num_wrong = num_mendable = 0
    if not models:
        click.echo(f"No models are in {folder}, so there is nothing to verify.")
    for model in models:
        home = model.path if model.path.is_dir() else model.path.parent
        manifest = read_manifest(home)
        found = _check(model, manifest, Console(stderr=True, highlight=False))
        bad = [one.name for one in found if one.state in ("wrong", "missing")]
        _print(console, model, found)
        if bad and mend and manifest is not None:
            asyncio.run(_repair(home, manifest, bad, folder, network))
            console.print(f"[green]✓[/] {escape(printable(model.name))} is right again.")
        else:
            num_wrong += bool(bad) or not _opens(console, model)
            num_mendable += bool(bad) and manifest is not None
    if num_wrong:
        hint = "; add --repair to fetch again what is wrong" if num_mendable and not mend else ""
        click.echo(f"{num_wrong} of {len(models)} models are not as they should be{hint}.", err=True)
        context.exit(1)


def _check(model: StoredModel, manifest: Manifest | None, console: Console) -> list[Checked]:
    files = [file for file in model_files(model.path) if file.name != MANIFEST]
    entries = _entries(model, manifest)
    home = model.path if model.path.is_dir() else model.path.parent
    total = sum(file.stat().st_size for file in files)
    with Progress(*byte_columns(), console=console, transient=True) as progress:
        task = progress.add_task(f"reading {escape(printable(model.name, 40))}", total=total)
        names = dict.fromkeys([*(file.name for file in files), *entries])
        return [check_file(home / name, entries.get(name), lambda n: progress.advance(task, n)) for name in names]


def _entries(model: StoredModel, manifest: Manifest | None) -> dict[str, ManifestFile]:
    """What is known of the files of this model; of the default model by heart."""
    if model.path.name == DEFAULT_MODEL.file_name:
        known = ManifestFile(DEFAULT_MODEL.requirement, DEFAULT_MODEL.num_bytes, Digest("sha256", DEFAULT_MODEL.sha256))
        return {DEFAULT_MODEL.file_name: known}
    if manifest is None:
        return {}
    if model.path.is_dir():
        return {name: entry for name, entry in manifest.files.items() if not name.lower().endswith(".gguf")}
    return {file.name: manifest.files[file.name] for file in model_files(model.path) if file.name in manifest.files}


def _print(console: Console, model: StoredModel, found: Sequence[Checked]) -> None:
    console.print(f"[bold]{escape(printable(model.name))}[/]", soft_wrap=True)
    for one in found:
        console.print(
            f"  {_MARKS[one.state]} {escape(printable(one.name))}  {size(one.num_bytes)}  {_said(one)}", soft_wrap=True
        )


def _said(one: Checked) -> str:
    match one.state:
        case "right":
            return "as it should be"
        case "missing":
            return "[bold red]is missing[/]"
        case "unknown":
            return f"nobody has said what it should be; its SHA-256 is {one.hex}"
    where = f" in {one.num_bad_pieces:,} MiB of it" if one.num_bad_pieces else ""
    return f"[bold red]is not what was fetched{where}[/]"


def _opens(console: Console, model: StoredModel) -> bool:
    """Whether the headers at least agree with the files: a file that was cut short is seen without a hash."""
    try:
        open_checkpoint(model.path)
    except PublicanError as error:
        console.print(f"  [bold red]✗[/] {escape(str(error))}", soft_wrap=True)
        return False
    return True


async def _repair(home: Path, manifest: Manifest, bad: Sequence[str], models: Path, network: Network) -> None:
    bars = Bars(Console(stderr=True, highlight=False))
    try:
        await repair(home, manifest, [name for name in bad if name in manifest.files], models, network, bars.watch)
    finally:
        bars.stop()
