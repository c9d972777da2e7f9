"""A serve report as a table for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from publican.bench.files import report_body
from publican.bench.metrics import Spread, Summary
from publican.bench.serve import ServeReport

KIND = "publican bench serve"


def serve_body(report: ServeReport) -> dict[str, Any]:
    """The whole report but the key, for `files.write_report`. Times are seconds."""
    body = report_body(KIND, report)
    del body["config"]["asking"]["key"]
    return body


def serve_table(report: ServeReport) -> Table:
    """One line for each workload."""
    sizes, asking = report.config.sizes, report.config.asking
    title = (
        f"{report.model} at {asking.url} · /v1/{'chat/' if asking.api == 'chat' else ''}completions · "
        f"{sizes.num_users} users × {sizes.num_turns} turns · {asking.max_tokens} tokens each"
    )
    goals = report.config.goals
    guessed = "" if all(summary.counted for summary in report.summaries) else " · ~ events, for want of usage"
    caption = f"good: TTFT ≤ {goals.ttft_s:g} s and TPOT ≤ {goals.tpot_s * 1e3:g} ms{guessed}"
    table = Table(title=title, caption=caption)
    table.add_column("workload")
    for name in ("requests", "tok/s", "TTFT p50", "p99", "ITL p50", "p99", "TPOT p50", "prefill tok/s", "cached", "good"):
        table.add_column(name, justify="right")
    for summary in report.summaries:
        table.add_row(*_cells(summary))
    return table


def _cells(summary: Summary) -> Iterator[str]:
    num_errors = sum(summary.errors.values())
    yield summary.workload
    yield f"{summary.num_requests}" + (f" [red]({num_errors} failed)[/]" if num_errors else "")
    yield f"{'' if summary.counted else '~'}{summary.output_per_s:.1f}"
    yield from (_ms(summary.ttft_s, "p50"), _ms(summary.ttft_s, "p99"))
    yield from (_ms(summary.itl_s, "p50"), _ms(summary.itl_s, "p99"))
    yield _ms(summary.tpot_s, "p50")
    yield f"{summary.prefill_per_s:,.0f}" if summary.workload == "single" and summary.prefill_per_s else "–"
    yield "–" if summary.cached is None else f"{summary.cached:.0%}"
    yield f"{summary.goodput:.0%}"


def _ms(spread: Spread | None, name: str) -> str:
    return "–" if spread is None else f"{getattr(spread, name) * 1e3:,.1f} ms"


def error_lines(report: ServeReport) -> list[str]:
    """What failed, in words, for below the table; the commonest first."""
    return [
        f"{summary.workload}: {count} × {text}"
        for summary in report.summaries
        for text, count in sorted(summary.errors.items(), key=lambda item: -item[1])
    ]
