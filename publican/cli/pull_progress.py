"""Bars for a transfer: bytes, rate and the time that is left, with a line for whatever goes wrong and is put right."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from publican.store.transfer import events

_LONGEST_NAME = 40


def byte_columns() -> tuple[ProgressColumn, ...]:
    """A text, a bar, and bytes with their rate and the time that is left."""
    return (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())


class Bars:
    """Fed on the event loop of the transfer; starts by itself with the first event and must be stopped."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(*byte_columns(), console=console)
        self._task = self._progress.add_task("looking", total=None, visible=False)
        self._is_running = False

    def watch(self, event: events.Event) -> None:
        if not self._is_running:
            self._is_running = True
            self._progress.start()
        match event:
            case events.Progress():
                self._show(event)
            case events.Waiting(why, wait_s):
                self._progress.print(f"[yellow]…[/] {escape(why)}; trying again in {wait_s:.0f} s")
            case events.Repairing(name, num_pieces, why):
                self._progress.print(f"[yellow]↻[/] {escape(name)}: {escape(why)}; fetching {num_pieces:,} MiB of it again")
            case events.FileDone(name, _, verified):
                mark = "[green]✓[/]" if verified else "[yellow]?[/]"
                note = "" if verified else " (its server gives no hash to hold it to)"
                self._progress.print(f"{mark} {escape(name)}{note}")

    def stop(self) -> None:
        if self._is_running:
            self._is_running = False
            self._progress.stop()

    def _show(self, event: events.Progress) -> None:
        name = event.name.rsplit("/", 1)[-1]
        shown = name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
        count = f" ({event.num_files_done + 1} of {event.num_files})" if event.num_files > 1 and name else ""
        self._progress.update(
            self._task,
            description=escape(shown + count) or "done",
            completed=event.here_bytes,
            total=event.total_bytes,
            visible=True,
        )
