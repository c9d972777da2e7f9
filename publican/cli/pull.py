"""`publican pull`: get a model, and say what was chosen and why while it comes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from publican.cli.judging import judge as judge_here
from publican.cli.network import network_from, network_options
from publican.cli.options import load_settings, models_dir, settings_options
from publican.cli.pull_progress import Bars
from publican.cli.pull_table import choice_table
from publican.store.pull.choose import Choice
from publican.store.pull.pull import Order, Pulled, look, pull
from publican.store.transfer.events import Event, FileDone


@click.command("pull")
@click.argument("source")
@click.option("--quant", metavar="NAME", help="Take this quant or branch: Q4_K_M, 4.0bpw. By default the best that fits.")
@click.option("--file", metavar="NAME", help="Take this file of the repository, with its other parts if it has some.")
@click.option("--allow-pickle", is_flag=True, help="Fetch PyTorch pickles too, weights only; they can run code when opened.")
@click.option("--anyway", is_flag=True, help="Even if it does not fit in this machine's memory.")
@click.option("--verify", "distrust", is_flag=True, help="Read what is here already, and fetch again what of it is wrong.")
@click.option("--dry-run", is_flag=True, help="Show what would be taken, and take nothing.")
@click.option("--json", "as_json", is_flag=True, help="Say everything as lines of JSON.")
@network_options
@settings_options("models_dir", "ctx", "users")
def command(source: str, dry_run: bool, as_json: bool, **flags: Any) -> None:
    """Pull SOURCE into the models folder, verified to the last bit.

    \b
    org/repo                 the best of it that fits this machine
    org/repo:Q4_K_M          one quant, or a branch (org/repo:4.0bpw)
    org/repo@revision        a branch, a tag or a commit
    https://…                a page of the hub, or a GGUF file anywhere
    ./model.gguf, ./folder   something on this machine, by a link
    default                  the default model

    Stopped in whatever way, the same command goes on inside the file where it was. HF_TOKEN, HF_ENDPOINT and HTTPS_PROXY
    are honoured.
    """
    network = network_from(os.environ, Path.home(), flags)
    wanted = {name: flags.pop(name) for name in ("quant", "file", "allow_pickle", "anyway", "distrust")}
    values = load_settings(flags).values
    order = Order(source, models_dir(values), **wanted)
    teller: Lines | Screen = Lines() if as_json else Screen(source)
    judge = judge_here(values)
    if dry_run:
        teller.chose(asyncio.run(look(order, network, judge)))
        return
    try:
        with teller:
            pulled = asyncio.run(pull(order, network, judge, teller.watch, teller.chose))
    except KeyboardInterrupt:
        click.echo("Stopped. The same command goes on from here.", err=True)
        raise
    teller.done(pulled)


class Screen:
    """For people: a table, bars, and a line at the end."""

    def __init__(self, source: str) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._looking = self._console.status(f"looking at {escape(source)}")
        self._bars = Bars(self._console)
        self._is_verified = True

    def __enter__(self) -> Screen:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._looking.stop()
        self._bars.stop()

    def chose(self, choice: Choice) -> None:
        self._looking.stop()
        self._console.print(choice_table(choice))

    def watch(self, event: Event) -> None:
        self._looking.stop()
        self._bars.watch(event)
        if isinstance(event, FileDone):
            self._is_verified = self._is_verified and event.verified

    def done(self, pulled: Pulled) -> None:
        fetched = (
            "is here, verified"
            if self._is_verified
            else "is here; 'publican verify' will hold it to the hash that it came with"
        )
        here = fetched if pulled.num_fetched_bytes else "was here already"
        if pulled.path.is_symlink():
            here = f"is here, as a link to {escape(str(pulled.path.resolve()))}; nothing was copied"
        self._console.print(f"[bold green]✓[/] {pulled.path.name} {here}.", soft_wrap=True)
        click.echo(str(pulled.path))


class Lines:
    """For programs: an object a line."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def chose(self, choice: Choice) -> None:
        rows = [
            {
                "label": row.candidate.label,
                "format": row.candidate.container,
                "num_bytes": row.candidate.num_bytes,
                "bits_per_weight": round(row.bits_per_weight, 3),
                "fits": row.fitting.fits if row.fitting else None,
                "context_len": row.fitting.context_len if row.fitting else None,
                "num_users": row.fitting.num_users if row.fitting else None,
                "objection": row.objection,
                "chosen": row is choice.row,
            }
            for row in choice.rows
        ]
        snapshot = choice.row.candidate.snapshot
        about = {"repo": snapshot.repo, "revision": snapshot.revision, "commit": snapshot.commit}
        self._line("chose", {**about, "label": choice.row.candidate.label, "reason": choice.reason, "rows": rows})

    def watch(self, event: Event) -> None:
        self._line(type(event).__name__.lower(), dataclasses.asdict(event))

    def done(self, pulled: Pulled) -> None:
        self._line("done", {"path": str(pulled.path), "num_fetched_bytes": pulled.num_fetched_bytes})

    def _line(self, name: str, values: dict[str, Any]) -> None:
        click.echo(json.dumps({"event": name, **values}))
