"""Reports as tables for people and JSON for machines, and two of them side by side."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from publican import __version__
from publican.bench.metrics import Spread, Summary
from publican.bench.serve import ServeReport
from publican.core.errors import SettingsError

SERVE_KIND = "publican bench serve"
_VERSION = 1


def serve_table(report: ServeReport) -> Table:
    """One line for each workload."""
    sizes, asking = report.config.sizes, report.config.asking
    title = (
        f"{report.model} at {asking.url} · /v1/{'chat/' if asking.api == 'chat' else ''}completions · "
        f"{sizes.num_users} users × {sizes.num_turns} turns · {asking.max_tokens} tokens each"
    )
    goals = report.config.goals
    table = Table(title=title, caption=f"good: TTFT ≤ {goals.ttft_s:g} s and TPOT ≤ {goals.tpot_s * 1e3:g} ms")
    table.add_column("workload")
    for name in ("requests", "tok/s", "TTFT p50", "p99", "ITL p50", "p99", "TPOT p50", "prefill tok/s", "cached", "good"):
        table.add_column(name, justify="right")
    for summary in report.summaries:
        table.add_row(*_cells(summary))
    return table


def _cells(summary: Summary) -> Iterable[str]:
    num_errors = sum(summary.errors.values())
    yield summary.workload
    yield f"{summary.num_requests}" + (f" [red]({num_errors} failed)[/]" if num_errors else "")
    yield f"{summary.output_per_s:.1f}" + ("" if summary.counted else " ~")
    yield from (_ms(summary.ttft_s, "p50"), _ms(summary.ttft_s, "p99"))
    yield from (_ms(summary.itl_s, "p50"), _ms(summary.itl_s, "p99"))
    yield _ms(summary.tpot_s, "p50")
    yield f"{summary.prefill_per_s:,.0f}" if summary.workload == "single" and summary.prefill_per_s else "–"
    yield "–" if summary.cached is None else f"{summary.cached:.0%}"
    yield f"{summary.goodput:.0%}"


def _ms(spread: Spread | None, name: str) -> str:
    return "–" if spread is None else f"{getattr(spread, name) * 1e3:,.1f} ms"


def error_lines(report: ServeReport) -> list[str]:
    """What failed, in words, for below the table."""
    return [
        f"{summary.workload}: {count} × {text}"
        for summary in report.summaries
        for text, count in sorted(summary.errors.items(), key=lambda item: -item[1])
    ]


# --- files


def serve_json(report: ServeReport) -> dict[str, Any]:
    """The whole report but the key. Times are seconds."""
    body = dataclasses.asdict(report)
    del body["config"]["asking"]["key"]
    return {"kind": SERVE_KIND, "format": _VERSION, "publican": __version__, **body}


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(body, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A report that was written before.

    Raises:
        SettingsError: there is none, or it is something else.
    """
    try:
        body = json.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"The report {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise SettingsError(f"{path} is not a report: it is not JSON.") from None
    if not isinstance(body, dict) or not str(body.get("kind", "")).startswith("publican bench"):
        raise SettingsError(f"{path} is not a report of 'publican bench'.")
    if body.get("format") != _VERSION:
        raise SettingsError(f"{path} was written by another version ({body.get('publican')}); measure again.")
    return body


# --- two runs


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """One number that two reports have in common, and which way is better."""

    name: str
    unit: str
    more_is_better: bool
    read: Callable[[Mapping[str, Any]], float | None]


def _spread(name: str, quantile: str) -> Callable[[Mapping[str, Any]], float | None]:
    def read(summary: Mapping[str, Any]) -> float | None:
        spread = summary.get(name)
        return None if spread is None else float(spread[quantile]) * 1e3

    return read


def _number(name: str, scale: float = 1.0) -> Callable[[Mapping[str, Any]], float | None]:
    def read(summary: Mapping[str, Any]) -> float | None:
        value = summary.get(name)
        return None if value is None else float(value) * scale

    return read


_SERVE_MEASURES = (
    Measure("output", "tok/s", True, _number("output_per_s")),
    Measure("TTFT p50", "ms", False, _spread("ttft_s", "p50")),
    Measure("TTFT p99", "ms", False, _spread("ttft_s", "p99")),
    Measure("ITL p50", "ms", False, _spread("itl_s", "p50")),
    Measure("ITL p99", "ms", False, _spread("itl_s", "p99")),
    Measure("good", "%", True, _number("goodput", 100)),
)


def compare_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """Two serve reports as `read_json` gives them: each number before and after, and how many times better it is.

    Raises:
        SettingsError: they are not of the same kind.
    """
    if before["kind"] != SERVE_KIND or after["kind"] != SERVE_KIND:
        raise SettingsError("Only two reports of 'publican bench serve' can be compared here.")
    table = Table(title=f"{_label(before)}  →  {_label(after)}")
    table.add_column("workload")
    for name in ("", "before", "after", "better"):
        table.add_column(name, justify="right")
    old = {summary["workload"]: summary for summary in before["summaries"]}
    for summary in after["summaries"]:
        if summary["workload"] in old:
            for row in comparison(old[summary["workload"]], summary, _SERVE_MEASURES):
                table.add_row(summary["workload"], *row)
    return table


def comparison(
    before: Mapping[str, Any], after: Mapping[str, Any], measures: Sequence[Measure]
) -> Iterable[tuple[str, str, str, str]]:
    """Rows of (what, before, after, how many times better) for the numbers that both have."""
    for measure in measures:
        old, new = measure.read(before), measure.read(after)
        if old is None or new is None:
            continue
        worse, better = (old, new) if measure.more_is_better else (new, old)
        ratio = f"{better / worse:.2f}×" if worse > 0 and better > 0 else "–"
        yield f"{measure.name} ({measure.unit})", f"{old:,.1f}", f"{new:,.1f}", ratio


def _label(body: Mapping[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(body["began"]))
    return f"{body['model']} at {body['config']['asking']['url']}, {when}"
