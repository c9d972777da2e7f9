"""`publican fit`: whether a model fits, before a byte of it is fetched or loaded; for this machine, or for one in words."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from publican.cli import screen
from publican.cli.fit_json import report_body
from publican.cli.fit_show import print_records, print_report
from publican.cli.judging import this_machine
from publican.cli.network import network_from, network_options
from publican.cli.options import LOADING, load_settings, models_dir, settings_options
from publican.cli.serve import load_options
from publican.cli.stored import find_or_only
from publican.core.errors import ModelNotFound, OutOfMemory, SettingsError
from publican.core.model import Checkpoint
from publican.hardware.machine import Machine, described_machine
from publican.hardware.plan import beside
from publican.hardware.shapes import SHAPES, shape_of
from publican.hardware.sizes import parse_size, parse_sizes
from publican.host.available import available, available_for_headers
from publican.host.choose import Available, choose
from publican.host.draft import Draft, settle_with
from publican.host.fit import engine_of
from publican.host.fit_records import Record, read_records, remember
from publican.host.fit_report import make_report
from publican.host.fit_shape import ShapedModel, described_model, shape_model
from publican.host.library import ModelLibrary
from publican.host.options import LoadOptions
from publican.host.settle import settle, usable
from publican.host.worker_process import WorkerPort
from publican.settings import Settings
from publican.store.catalogue import StoredModel
from publican.store.checkpoint import open_checkpoint
from publican.store.disk import free_bytes

_DOES_NOT_FIT = 1
_FILE_WIDTH = 160


@click.command("fit")
@click.argument("model", required=False)
@click.option(
    "--gpu", metavar="SIZES", help="For a machine with these GPUs instead of this one: 24GB, or 24GB,24GB; 0 is none."
)
@click.option("--ram", metavar="SIZE", help="Main memory of that machine. [default: 32GB]")
@click.option("--bits", type=click.FloatRange(1, 32), help="Bits per weight of a model that is only named. [default: 4]")
@click.option("--group", type=click.IntRange(0), default=128, show_default=True, help="Weights that share a scale; 0: none do.")
@click.option(
    "--check",
    is_flag=True,
    help="Load it, and compare the plan with what is then held; without MODEL, say what was found so far.",
)
@click.option("--json", "as_json", is_flag=True, help="Say it to a program.")
@network_options
@settings_options(*LOADING, "users", "max_running", "draft_model")
def command(model: str | None, **flags: Any) -> None:
    """Say whether MODEL fits, for how long a context and how many people, and what would help. Loads nothing.

    \b
    a name or a path     of a model that is here
    org/repo[:quant]     of one at the hub, from its headers
    llama-2-13b          or another well-known shape, with --bits

    The exit status is 1 if what was asked for does not fit.
    """
    names = ("gpu", "ram", "bits", "group", "check", "as_json")
    own = {name: flags.pop(name) for name in names}
    network = network_from(os.environ, Path.home(), flags)
    values = load_settings(flags).values
    options = load_options(values)
    elsewhere = _machine_in_words(own["gpu"], own["ram"])
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)
    if own["check"]:
        if elsewhere is not None:
            raise SettingsError("--check loads the model here; leave --gpu and --ram away.")
        print_records(_checked(model, values, options), console, own["as_json"])
        return
    machine = elsewhere or this_machine()
    shaped, here, is_here = _model(model, values, own, network, machine)
    if elsewhere is not None:
        here = _anything(here.native_objection, machine, here.is_gguf)
    draft = _draft(shaped, here, values, machine)
    if draft is not None:
        machine = beside(machine, draft.fit.plan)
    chosen = choose(options.loader, options.backend, here)
    report = make_report(shaped, chosen, options, usable(machine, chosen, here))
    if draft is not None:
        report = replace(report, decisions=(*report.decisions, draft.decision))
    if report.refusal:
        report = replace(report, instead=_instead(shaped, here, options, machine))
    disk_free = None if is_here else free_bytes(models_dir(values))
    if own["as_json"]:
        console.print_json(data=report_body(report, disk_free))
    else:
        print_report(report, disk_free, console)
    if not report.fits:
        sys.exit(_DOES_NOT_FIT)


class _Unknown(ModelNotFound):
    """Neither a model that is here nor a shape that is known by its name."""

    def __str__(self) -> str:
        here = f"of those here ({', '.join(self.available[:20])})" if self.available else "here, where no model is yet"
        return (
            f"{self.name!r:.80} is no model {here}, none at the hub (org/name) and no well-known shape ({', '.join(SHAPES)})."
        )


def _draft(model: ShapedModel, here: Available, values: Settings, machine: Machine) -> Draft | None:
    """The draft model that would lie beside it; None if there is none, or no room for both."""
    if not values.draft_model:
        return None
    try:
        return settle_with(_stored(values.draft_model, values), model, here, load_options(values), machine)[2]
    except OutOfMemory:
        return None


def _instead(model: ShapedModel, here: Available, options: LoadOptions, machine: Machine) -> str:
    """What the server would do with a model that its first choice has no memory for; empty if it would refuse too."""
    try:
        chosen, settled = settle(model, here, options, machine)
    except OutOfMemory:
        return ""
    layers = f", {settled.plan.gpu_layers} of {model.spec.num_layers} layers on GPUs" if settled.plan.gpu_layers else ""
    loader = chosen.loader if chosen.loader == "llama" else f"{chosen.loader} ({engine_of(chosen)})"
    return f"{loader} with {settled.context_len:,} tokens{layers}: {chosen.why}"


def _machine_in_words(gpus: str | None, ram: str | None) -> Machine | None:
    if gpus is None and ram is None:
        return None
    sizes = tuple(size for size in parse_sizes(gpus or "0") if size)
    return described_machine(sizes, parse_size(ram or "32GB"), num_cores=8)


def _model(
    asked: str | None, values: Settings, own: dict[str, Any], network: Any, machine: Machine
) -> tuple[ShapedModel, Available, bool]:
    """The model, what could run it here, and whether its files are here: by its name, at the hub, or by its shape."""
    try:
        checkpoint = open_checkpoint(_stored(asked, values).path)
        return shape_model(checkpoint), available(checkpoint, machine), True
    except ModelNotFound as error:
        if asked is None or error.several:
            raise
        if asked.strip().lower() in SHAPES:
            shape = described_model(asked, shape_of(asked), own["bits"] or 4, own["group"])
            return shape, _anything(None, machine, is_gguf=own["bits"] is None or values.loader == "llama"), False
        if "/" not in asked:
            raise _Unknown(asked, error.available) from None
    checkpoint = asyncio.run(_remote(asked, values, network, machine))
    objection = available_for_headers(checkpoint, machine).native_objection
    return shape_model(checkpoint), _anything(objection, machine, checkpoint.format == "gguf"), False


async def _remote(asked: str, values: Settings, network: Any, machine: Machine) -> Checkpoint:
    from publican.host.fit_remote import remote_checkpoint
    from publican.host.judge import make_judge

    checkpoint, reason = await remote_checkpoint(asked, network, make_judge(machine, values.ctx, values.users))
    click.echo(f"{asked}: {checkpoint.name}, {reason}", err=True)
    return checkpoint


def _anything(native_objection: str | None, machine: Machine, is_gguf: bool) -> Available:
    """What a machine could have installed, for a model that nobody has."""
    return Available(bool(machine.gpus), True, True, native_objection, is_gguf, llama_gpu=True)


def _stored(asked: str | None, values: Settings) -> StoredModel:
    return find_or_only(asked if asked is not None else values.model, models_dir(values))


def _checked(asked: str | None, values: Settings, options: LoadOptions) -> tuple[Record, ...]:
    """How right the plan is for one model, which is loaded for it; or was, for all that have been loaded here."""
    from publican.host.fit_check import check

    folder = models_dir(values)
    if asked is None:
        return read_records(folder)
    stored = _stored(asked, values)
    library = ModelLibrary(folder, options, WorkerPort, values.max_queue, this_machine)
    if values.draft_model:
        library.add_draft(values.draft_model, _stored(values.draft_model, values))
    with screen.loading(stored.name) as progress:
        record = asyncio.run(check(library, stored, options, progress))
    remember(folder, record)
    return (record,)
