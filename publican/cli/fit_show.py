"""A `FitReport` for people: a verdict, a bar for each device, how far one can go, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from publican.cli.plain import printable
from publican.hardware.plan import Plan, Share
from publican.hardware.sizes import shown
from publican.host.fit_records import Record, worst
from publican.host.fit_report import FitReport
from publican.host.measured import Measured

_WIDTH = 56
_PARTS = (  # what a bar is made of: a letter for those who see no colours
    ("weights", "W", "blue"),
    ("keys and values", "K", "green"),
    ("working memory", "S", "yellow"),
    ("process", "P", "magenta"),
    ("while loading", "L", "cyan"),
    ("others' use", "x", "bright_black"),
    ("reserve", "r", "bright_black"),
    ("free", "·", "bright_black"),
)


def print_report(report: FitReport, disk_free: int | None, console: Console) -> None:
    """`disk_free`: of the models folder's disk; None for a model that is there already."""
    console.print(_headline(report), soft_wrap=True)
    if report.machine.gpu_note and report.engine in ("cpu", "plain"):
        console.print(f"[dim]{escape(report.machine.gpu_note)}[/]", soft_wrap=True)
    console.print()
    _print_devices(report.plan, console)
    if report.decisions:
        _print_decisions(report, console)
    if report.limits:
        _print_limits(report, console)
    if disk_free is not None:
        enough = "[green]enough[/]" if disk_free >= report.disk_bytes else "[red]not enough[/]"
        console.print(f"disk: {shown(report.disk_bytes)} to download, {shown(disk_free)} free, {enough}")
    if report.refusal:
        console.print(f"\n[red]{escape(printable(report.refusal, 600))}[/]", soft_wrap=True)
        if report.instead:
            console.print(f"The server would take {escape(printable(report.instead, 600))}.", soft_wrap=True)
    elif report.remedies:
        console.print("\nAll that was asked for would fit with:")
        for remedy in report.remedies:
            console.print(f"  - {remedy.text}", soft_wrap=True)


def _headline(report: FitReport) -> str:
    load = report.wanted.load
    people = "1 user" if load.num_users == 1 else f"{load.num_users} users"
    wish = f"{load.context_len:,} tokens for {people}, {load.kv_type}"
    if report.model.is_encoder:
        wish = f"texts of {load.context_len:,} tokens"
    verdict = "[bold green]fits[/]" if report.fits else f"[bold red]does not fit[/] by {shown(report.wanted.missing_bytes)}"
    rough = " (its shape is partly guessed)" if report.model.is_rough else ""
    size = f"{shown(report.model.file_bytes)}, {report.bits_per_weight:.2f} bits a weight"
    return f"[bold]{escape(printable(report.model.name))}[/] ({size}){rough} with {wish} {verdict}"


def _print_devices(plan: Plan, console: Console) -> None:
    for share in plan.shares:
        layers = f", {share.num_layers} of {len(plan.needs.layer_bytes)} layers" if share.num_layers else ""
        over = f", [red]{shown(-share.room_bytes)} too much[/]" if share.room_bytes < 0 else f", {shown(share.room_bytes)} left"
        console.print(f"{share.device.name}: {shown(share.total_bytes)} of {shown(share.device.total_bytes)}{layers}{over}")
        console.print(Text("  ").append_text(bar(share)))
        console.print(f"  [dim]{_legend(share)}[/]", soft_wrap=True)
    console.print()


def parts_of(share: Share) -> tuple[int, ...]:
    """Bytes of each of a bar's parts; together the device, or more where it does not fit."""
    device = share.device
    own = share.weight_bytes, share.kv_bytes, share.scratch_bytes, share.overhead_bytes, share.passing_bytes
    return (*own, device.total_bytes - device.free_bytes, device.reserve_bytes, max(0, share.room_bytes))


def bar(share: Share) -> Text:
    """A device as a bar; what lies beyond its end does not fit."""
    unit = share.device.total_bytes / _WIDTH
    text, done, seen = Text("["), 0, 0
    ended = False
    for size, (_, letter, colour) in zip(parts_of(share), _PARTS, strict=True):
        seen += size
        upto = round(seen / unit) if unit else done
        for _ in range(max(0, min(upto, 2 * _WIDTH) - done)):
            if done == _WIDTH and not ended:
                text.append("]", "bold red")
                ended = True
            text.append(letter, "bold red" if ended else colour)
            done += 1
    if not ended:
        text.append("·" * (_WIDTH - done), "bright_black")
        text.append("]")
    return text


def _legend(share: Share) -> str:
    sizes = zip(parts_of(share), _PARTS, strict=True)
    return "  ".join(f"{letter} {name} {shown(size)}" for size, (name, letter, _) in sizes if size)


def _print_decisions(report: FitReport, console: Console) -> None:
    table = Table(title="What would be loaded", title_justify="left", box=None, pad_edge=False)
    for column in ("", "", "why", "otherwise with"):
        table.add_column(column, style="dim" if column else None, overflow="fold")
    for each in report.decisions:
        table.add_row(each.name, *(escape(printable(text, 600)) for text in (each.value, each.why)), each.flag)
    console.print(table)
    console.print()


def _print_limits(report: FitReport, console: Console) -> None:
    load = report.wanted.load
    table = Table(title="How far one can go", title_justify="left", box=None, pad_edge=False)
    table.add_column("keys and values")
    for users in dict.fromkeys((load.num_users, 1)):
        table.add_column(f"longest for {users}", justify="right")
    table.add_column(f"users at {load.context_len:,}", justify="right")
    for each in report.limits:
        lengths = (each.longest_for_all, each.longest_for_one)[: 1 if load.num_users == 1 else 2]
        table.add_row(each.kv_type, *(f"{length:,}" for length in lengths), f"{each.most_users:,}")
    console.print(table)


def print_records(records: Sequence[Record], console: Console, as_json: bool) -> None:
    """What `--check` found: how far what is held lies from what was planned."""
    rows = [(record, each) for record in records for each in record.measured]
    if as_json:
        console.print_json(data=[_record_body(record, each) for record, each in rows])
        return
    if not rows:
        console.print("No model has been loaded here yet, or this system does not tell what a process holds.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "loader", "", "planned", "held", "error"):
        table.add_column(column, justify="right" if column in ("planned", "held", "error") else "left")
    for record, each in rows:
        sizes = shown(each.planned_bytes), shown(each.measured_bytes), f"{each.error:+.1%}"
        table.add_row(escape(printable(record.model)), escape(printable(record.loader)), escape(printable(each.where)), *sizes)
    console.print(table)
    console.print(f"The plan was right to within {worst(records):.1%}.")


def _record_body(record: Record, each: Measured) -> dict[str, Any]:
    return {
        "model": record.model,
        "loader": record.loader,
        "num_tokens": record.num_tokens,
        "when_s": record.when_s,
        "where": each.where,
        "planned_bytes": each.planned_bytes,
        "measured_bytes": each.measured_bytes,
        "error": round(each.error, 4),
    }
