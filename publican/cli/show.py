"""`publican show`: what a model is, from its headers: one that is here, or one at the hub, of which nothing is downloaded."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from publican.cli.judging import judge as judge_here
from publican.cli.network import network_from, network_options
from publican.cli.options import load_settings, models_dir, settings_options
from publican.cli.show_facts import body, print_inspection
from publican.cli.stored import find_here
from publican.core.errors import ModelNotFound, SettingsError
from publican.store.http.network import Network
from publican.store.hub.reference import HubReference, PathReference, parse_source
from publican.store.inspect.inspection import Inspection
from publican.store.inspect.local import inspect_path
from publican.store.pull.appraise import Judge, Survey, survey
from publican.store.recognise.instead import instead
from publican.store.recognise.kind import RUNNABLE
from publican.store.source import expanded


@click.command("show")
@click.argument("model")
@click.option("--quant", metavar="NAME", help="Of a repository, this quant or branch.")
@click.option("--file", metavar="NAME", help="Of a repository, this file.")
@click.option("--template", is_flag=True, help="Print the chat template alone.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@network_options
@settings_options("models_dir", "ctx", "users")
def command(model: str, quant: str | None, file: str | None, template: bool, as_json: bool, **flags: Any) -> None:
    """Show what MODEL is: a name or a path here, or org/repo[:quant] at the hub, from its headers alone."""
    network = network_from(os.environ, Path.home(), flags)
    values = load_settings(flags).values
    judge = judge_here(values)
    here = _here(model, models_dir(values))
    if here is not None:
        found, others = here, None
    else:
        others = asyncio.run(_remote(model, network, judge, quant, file))
        found = others.seen
    objection = judge.objection(found.checkpoint) if found.kind in RUNNABLE else None
    problem = instead(found.kind, objection, found.base_models)
    if template:
        click.echo(found.chat_template)
    elif as_json:
        click.echo(json.dumps(body(found, problem, others.rows if others else ()), indent=1))
    else:
        print_inspection(Console(highlight=False), found, problem, others.rows if others else ())


def _here(model: str, folder: Path) -> Inspection | None:
    """The model if it is on this machine; None if it can only be at the hub."""
    path = expanded(model)
    if model.strip() and path.exists():
        return inspect_path(path)
    try:
        stored = find_here(model, folder)
    except ModelNotFound as error:
        if "/" not in model and ":" not in model:
            raise error from None
        return None
    return inspect_path(stored.path, stored.name)


async def _remote(model: str, network: Network, judge: Judge, quant: str | None, file: str | None) -> Survey:
    reference = parse_source(model, network.endpoint)
    if isinstance(reference, PathReference):
        raise SettingsError(f"There is no file or folder {str(reference.path)!r:.120}; 'publican list' has the models here.")
    if not isinstance(reference, HubReference):
        raise SettingsError(f"{model!r:.120} is neither here nor a repository of the hub; pull it, then show it.")
    return await survey(reference, network, judge, quant, file)
