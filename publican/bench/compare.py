"""Two reports of the same kind side by side: each number before and after, and how many times better it became.

Works on reports as `files.read_report` gives them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from publican.bench import engine_report, serve_report
from publican.core.errors import SettingsError

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number, found along `path`, times `scale`; which way is better."""

    name: str
    path: tuple[str, ...]
    scale: float = 1.0
    more_is_better: bool = False

    def read(self, body: Body) -> float | None:
        value: Any = body
        for key in self.path:
            value = None if value is None else value.get(key)
        return None if value is None else float(value) * self.scale


_SERVE = (
    Measure("output (tok/s)", ("output_per_s",), more_is_better=True),
    Measure("TTFT p50 (ms)", ("ttft_s", "p50"), 1e3),
    Measure("TTFT p99 (ms)", ("ttft_s", "p99"), 1e3),
    Measure("ITL p50 (ms)", ("itl_s", "p50"), 1e3),
    Measure("ITL p99 (ms)", ("itl_s", "p99"), 1e3),
    Measure("good (%)", ("goodput",), 100, more_is_better=True),
)
_DECODE = (
    Measure("alone (ms)", ("alone_s", "p50"), 1e3),
    Measure("step p50 (ms)", ("step_s", "p50"), 1e3),
    Measure("step p99 (ms)", ("step_s", "p99"), 1e3),
)
_PROMPT = (
    Measure("alone (ms)", ("alone_s",), 1e3),
    Measure("first token (ms)", ("first_token_s",), 1e3),
    Measure("again (ms)", ("hit_s",), 1e3),
)


def compare_table(before: Body, after: Body) -> Table:
    """What both reports measured.

    Raises:
        SettingsError: they are not of the same kind.
    """
    if before["kind"] != after["kind"]:
        raise SettingsError(f"A report of '{before['kind']}' cannot be compared with one of '{after['kind']}'.")
    label, parts = _KINDS[str(after["kind"])]
    table = Table(title=f"{label(before)}  →  {label(after)}")
    table.add_column("")
    for name in ("", "before", "after", "better"):
        table.add_column(name, justify="right")
    old = {name: (body, measures) for name, body, measures in parts(before)}
    for name, body, measures in parts(after):
        if name in old:
            for row in _rows(old[name][0], body, measures):
                table.add_row(name, *row)
    return table


def _rows(before: Body, after: Body, measures: tuple[Measure, ...]) -> Iterator[tuple[str, str, str, str]]:
    for measure in measures:
        old, new = measure.read(before), measure.read(after)
        if old is None or new is None:
            continue
        worse, better = (old, new) if measure.more_is_better else (new, old)
        ratio = f"{better / worse:.2f}×" if worse > 0 and better > 0 else "–"
        yield measure.name, f"{old:,.1f}", f"{new:,.1f}", ratio


def _when(body: Body) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(body["began"]))


def _serve_label(body: Body) -> str:
    return f"{body['model']} at {body['config']['asking']['url']}, {_when(body)}"


def _serve_parts(body: Body) -> Iterator[tuple[str, Body, tuple[Measure, ...]]]:
    for summary in body["summaries"]:
        yield summary["workload"], summary, _SERVE


def _engine_label(body: Body) -> str:
    return f"{body['loader']} on {body['device']}, {_when(body)}"


def _engine_parts(body: Body) -> Iterator[tuple[str, Body, tuple[Measure, ...]]]:
    for times in body["decode"]:
        yield f"batch {times['batch_size']}", times, _DECODE
    yield f"prompt of {body['prompt']['length']:,}", body["prompt"], _PROMPT


_Parts = Callable[[Body], Iterator[tuple[str, Body, tuple[Measure, ...]]]]
_KINDS: Mapping[str, tuple[Callable[[Body], str], _Parts]] = {
    serve_report.KIND: (_serve_label, _serve_parts),
    engine_report.KIND: (_engine_label, _engine_parts),
}
