"""What a host sees while a server starts: progress bars, then how to reach it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from publican.cli.listening import address_of, is_exposed
from publican.cli.plain import printable
from publican.cli.pull_progress import byte_columns
from publican.core.backend import ModelCard
from publican.host.host import Library, ModelHost
from publican.host.library import ModelLibrary
from publican.host.measured import compare
from publican.settings import Settings

Report = Callable[[int, int], None]
_LONGEST_TEXT = 600


@contextmanager
def downloading(name: str, total_bytes: int) -> Iterator[Report]:
    """A bar with bytes, rate and the time that is left."""
    with Progress(*byte_columns(), console=Console(stderr=True)) as progress:
        task = progress.add_task(f"fetching {escape(name)}", total=total_bytes)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def loading(name: str) -> Iterator[Report]:
    """A bar that goes away when the model is loaded."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"loading {escape(printable(name))}", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def banner(values: Settings, key: str | None, card: ModelCard, host: ModelHost, library: Library) -> None:
    """Where it is, what it serves, and a line to try it with. Names and reasons may hold what a stranger wrote into a file."""
    console = Console(highlight=False)
    shown_key = key if values.api_key is None else "$PUBLICAN_API_KEY"  # what is kept secret is not for terminals and logs
    rows = [_Row("model", card.name), _Row("loader", _loader(card, host, library)), *_decisions(card, library), *_memory(host)]
    for url in _urls(values, values.port):
        rows.append(_Row("API", f"{url}/v1  (OpenAI)   {url}/api  (text-generation-webui 2023)"))
    if values.stream_port:
        rows.append(_Row("stream", f"{_urls(values, values.stream_port)[0].replace('http', 'ws', 1)}/api/v1/stream  (2023)"))
    if key is not None:
        rows.append(_Row("key", key if values.api_key is None else "(as set)"))
    console.print()
    for row in rows:
        text = printable(row.text, _LONGEST_TEXT)
        console.print(Text.assemble((f"{row.name:>9}", "bold"), f"  {text}  ", (row.flag, "dim")), soft_wrap=True)
    console.print("\nTry it:\n")
    print(_curl(_urls(values, values.port)[0], shown_key), flush=True)
    console.print("\nCtrl-C stops it.\n")


class _Row(NamedTuple):
    """A line of the banner. `flag` is what would have it otherwise."""

    name: str
    text: str
    flag: str = ""


def _curl(url: str, key: str | None) -> str:
    auth = f' -H "Authorization: Bearer {key}"' if key else ""
    question = '[{"role": "user", "content": "What is a publican?"}]'
    body = f'{{"messages": {question}, "max_tokens": 50, "temperature": 0}}'
    return f"curl {url}/v1/chat/completions -H 'Content-Type: application/json'{auth} -d '{body}'"


def _decisions(card: ModelCard, library: Library) -> list[_Row]:
    """What was settled about loading, each with its reason, and the flag that settles it otherwise."""
    if not isinstance(library, ModelLibrary) or library.last_opened is None:
        return [_Row("context", f"{card.context_len:,} tokens")]
    settled = [each for each in library.last_opened.fit.decisions if each.name != "loader"]
    return [_Row(each.name, f"{each.value}  ({each.why})", each.flag) for each in settled]


def _memory(host: ModelHost) -> list[_Row]:
    """What the model holds now, beside what was planned for this moment."""
    if host.model is None or host.model.ready is None:
        return []
    return [_Row("held", str(memory)) for memory in compare(host.model.spec.planned_bytes, host.model.ready)]


def _loader(card: ModelCard, host: ModelHost, library: Library) -> str:
    loader, device = card.details.get("loader", ""), card.details.get("device", "")
    text = f"{loader} on {device}" if device else str(loader)
    if isinstance(library, ModelLibrary) and library.last_opened is not None:
        text += f"  ({library.last_opened.chosen.why})"
    ready = host.model.ready if host.model else None
    return text + (f", loaded in {ready.load_s:.1f} s" if ready else "")


def _urls(values: Settings, port: int) -> list[str]:
    """This machine's own address first, then the one that friends on the same network can use."""
    address = address_of(values)
    if address not in ("0.0.0.0", "::"):
        return [f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"]
    own = [f"http://127.0.0.1:{port}"]
    if is_exposed(values) and (lan := _lan_address()):
        own.append(f"http://{lan}:{port}")
    return own


def _lan_address() -> str | None:
    """The address that this machine would send from. Nothing is sent: UDP only looks up the route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return None
