"""Tables as a wide terminal shows them."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def shown(table: Table) -> str:
    console = Console(width=250)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def row(table: Table, *texts: str) -> list[str]:
    """The cells of the one line that holds all of `texts`."""
    (line,) = [line for line in shown(table).splitlines() if all(text in line for text in texts)]
    return [cell.strip() for cell in line.strip("│").split("│")]
