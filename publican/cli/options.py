"""Flags made from the settings' schema."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

from publican import settings
from publican.core.errors import SettingsError

Command = Callable[..., None]

LOADING = (
    *("models_dir", "loader", "backend", "ctx", "threads", "gpu_layers", "gpu_split", "kv_type", "alpha", "rope_factor"),
    *("rope_scaling", "quality"),
)
"""The settings that say how a model is loaded, for whoever loads or plans one without serving it."""

_ALSO = {"kv_type": ("--cache-type",), "draft_model": ("--model-draft", "-md")}
"""Second names of flags: what people know them as."""
_ITEMS = {"cors_origins": "ORIGIN", "lora": "[NAME=]FOLDER"}


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Adds a flag for each of these settings (all, if none is named), and `--config`."""

    def decorate(command: Command) -> Command:
        for name in reversed(names or tuple(settings.Settings.model_fields)):
            command = _option(name, settings.Settings.model_fields[name])(command)
        path = click.Path(path_type=Path, dir_okay=False)
        return click.option("--config", type=path, help=f"A settings file, instead of ./{settings.FILE_NAME}.")(command)

    return decorate


def _option(name: str, info: FieldInfo) -> Callable[[Command], Command]:
    flag, kind, choices = settings.flag_of(name), _kind(info.annotation), _choices(info.annotation)
    help = info.description or ""
    shown = info.default if info.default not in (None, (), False) else None
    if shown is not None:
        help += f" [default: {shown}]"
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=help)
    if settings.is_list(name):
        return click.option(flag, name, multiple=True, metavar=_ITEMS.get(name, "TEXT"), help=f"{help} May be repeated.")
    flags = (flag, *_ALSO.get(name, ()))
    return click.option(*flags, name, default=None, type=click.Choice(choices) if choices else kind, help=help)


def _kind(annotation: Any) -> Any:
    """The type of a value: that of `X` in `X | None`."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        annotation = next(a for a in typing.get_args(annotation) if a is not types.NoneType)
    return annotation if annotation in (bool, int, float) else str


def _choices(annotation: Any) -> list[str]:
    return list(typing.get_args(annotation)) if typing.get_origin(annotation) is typing.Literal else []


def load_settings(flags: dict[str, Any]) -> settings.LoadedSettings:
    """The settings of this run; what was perhaps misspelt is said on stderr. Raises SettingsError."""
    config = flags.pop("config", None)
    loaded = settings.load(flags, os.environ, Path.cwd(), config)
    for warning in loaded.warnings:
        click.echo(f"{click.style('warning', fg='yellow', bold=True)}: {warning}", err=True)
    return loaded


def models_dir(values: settings.Settings) -> Path:
    """Raises SettingsError if something else is in its place."""
    folder = values.models_dir or settings.data_dir(os.environ, Path.home()) / "models"
    if folder.is_file():
        raise SettingsError(f"The models folder {folder} is a file; name a folder with --models-dir.")
    return folder


def beside_models(values: settings.Settings, given: Path | None, name: str) -> Path:
    """The folder that was `given`, or that of `name` beside the models folder."""
    return given or models_dir(values).parent / name
