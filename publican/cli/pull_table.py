"""The table of what a repository has: sizes, bits, what fits, and which was chosen and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from publican.cli.plain import size
from publican.store.pull.choose import Choice, Row


def choice_table(choice: Choice) -> Group:
    """All candidates, the chosen one marked."""
    snapshot = choice.row.candidate.snapshot
    title = Text(f"{snapshot.repo}  {snapshot.revision} → {snapshot.commit[:12]}", style="bold")
    because = Text.from_markup(f"[bold]{escape(choice.row.candidate.label or snapshot.repo)}[/]: {escape(choice.reason)}")
    if len(choice.rows) == 1:
        return Group(title, because)
    return Group(title, candidates_table(choice.rows, choice.row), because)


def candidates_table(rows: Sequence[Row], chosen: Row | None = None) -> Table:
    """A line for each model of a repository."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "model", "format"):
        table.add_column(heading)
    known = next((row.fitting for row in rows if row.fitting), None)
    users = "1 user" if known and known.wanted_users == 1 else f"{known.wanted_users} users" if known else "all"
    for heading in ("size", "bits", "fits?", f"context for {users}", f"users at {known.wanted_len:,}" if known else "users"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*_cells(row, row is chosen), style="bold green" if row is chosen else "")
    return table


def _cells(row: Row, chosen: bool) -> list[str]:
    candidate, fitting = row.candidate, row.fitting
    bits = f"{row.bits_per_weight:.2f}" if row.bits_per_weight else "?"
    start = ["→" if chosen else "", escape(candidate.label or "(whole)"), candidate.container, size(candidate.num_bytes), bits]
    if row.objection or candidate.missing:
        return [*start, "does not run" if row.objection else "incomplete", "", ""]
    if fitting is None:
        return [*start, "?", "?", "?"]
    return [*start, "yes" if fitting.fits else "no", f"{fitting.context_len:,}", f"{fitting.num_users:,}"]
