"""`publican list`: the models that are here, what they take of the disk, and where they came from. Reads no headers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from publican.cli.options import load_settings, models_dir, settings_options
from publican.cli.plain import day, printable, size
from publican.store.catalogue import StoredModel, list_models
from publican.store.disk import disk_bytes, free_bytes, unfinished_bytes
from publican.store.manifest import Manifest, ManifestFile, read_manifest
from publican.store.quant_names import quant_of


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@settings_options("models_dir")
def command(as_json: bool, **flags: Any) -> None:
    """List the models in the models folder, with their disk use."""
    folder = models_dir(load_settings(flags).values)
    models = list_models(folder)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "models": [_body(model) for model in models]}, indent=1))
        return
    Console(highlight=False).print(
        _table(models) if models else f"No models are in {escape(str(folder))}; get one with: publican pull default.",
        soft_wrap=not models,
    )
    click.echo(_sums(models, folder))


def _table(models: tuple[StoredModel, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("name", overflow="fold")
    table.add_column("format")
    table.add_column("on disk", justify="right")
    table.add_column("newest file")
    table.add_column("from", overflow="fold")
    for model in models:
        took = "(a link)" if model.link is not None else size(disk_bytes(model))
        name = escape(printable(model.name))
        table.add_row(name, _format(model), took, day(model.modified_s), escape(printable(_origin(model))))
    return table


def _format(model: StoredModel) -> str:
    quant = quant_of(model.path.name) if model.format == "gguf" else ""
    return f"GGUF {quant}".rstrip() if model.format == "gguf" else "safetensors"


def _origin(model: StoredModel) -> str:
    manifest, entry = _entry(model)
    if manifest is None or entry is None:
        return ""
    if not manifest.repo:
        return entry.origin
    return f"{manifest.repo}@{entry.revision or 'main'} ({entry.commit[:12]})"


def _entry(model: StoredModel) -> tuple[Manifest | None, ManifestFile | None]:
    manifest = read_manifest(model.path if model.path.is_dir() else model.path.parent)
    if manifest is None:
        return None, None
    if model.path.is_dir():
        return manifest, next(iter(manifest.files.values()), None)
    return manifest, manifest.files.get(model.path.name)


def _sums(models: tuple[StoredModel, ...], folder: Path) -> str:
    parts = [f"{size(sum(disk_bytes(model) for model in models))} in {len(models)} model{'' if len(models) == 1 else 's'}"]
    if unfinished := unfinished_bytes(folder):
        parts.append(f"{size(unfinished)} of unfinished downloads (publican rm --unfinished forgets them)")
    parts.append(f"{size(free_bytes(folder))} free")
    return "; ".join(parts) + "."


def _body(model: StoredModel) -> dict[str, Any]:
    manifest, entry = _entry(model)
    return {
        "name": model.name,
        "path": str(model.path),
        "format": model.format,
        "num_bytes": model.num_bytes,
        "disk_bytes": disk_bytes(model),
        "modified_s": model.modified_s,
        "repo": manifest.repo if manifest else "",
        "revision": entry.revision if entry else "",
        "commit": entry.commit if entry else "",
    }
