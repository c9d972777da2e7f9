"""An engine report as tables for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from publican.bench.engine import DecodeTimes, EngineReport
from publican.bench.files import report_body

KIND = "publican bench engine"


def engine_body(report: EngineReport) -> dict[str, Any]:
    """The whole report, for `files.write_report`. Times are seconds."""
    return report_body(KIND, report)


def engine_tables(report: EngineReport) -> list[Table]:
    tables = [_decode_table(report), _prompt_table(report)]
    if report.newcomer is not None:
        tables.append(_newcomer_table(report))
    return tables


def _decode_table(report: EngineReport) -> Table:
    config = report.config
    table = Table(
        title=f"{report.loader} on {report.device} · a token each, after {config.context_len:,} or more",
        caption="engine: what it adds to the executor's time in the same steps; medians",
    )
    for name in ("batch", "tok/s", "alone", "in the engine", "step p50", "step p99"):
        table.add_column(name, justify="right")
    for name in ("plan", "sample", "commit", "emit", "engine"):
        table.add_column(name, justify="right")
    for times in report.decode:
        table.add_row(*_decode_cells(times))
    return table


def _decode_cells(times: DecodeTimes) -> Iterable[str]:
    yield f"{times.batch_size}"
    yield f"{times.batch_size / times.alone_s.p50:,.1f}"
    yield from map(_ms, (times.alone_s.p50, times.execute_s, times.step_s.p50, times.step_s.p99))
    yield from (f"{seconds * 1e6:,.0f} µs" for seconds in (times.plan_s, times.sample_s, times.commit_s, times.emit_s))
    yield f"{times.overhead:.1%}"


def _prompt_table(report: EngineReport) -> Table:
    prompt = report.prompt
    table = Table(title=f"prompts of {prompt.length:,} tokens", caption="again: found in the prefix cache")
    for name in ("alone", "tok/s", "first token", "again", "an ordinary step"):
        table.add_column(name, justify="right")
    rate = f"{prompt.length / prompt.alone_s:,.0f}"
    table.add_row(_ms(prompt.alone_s), rate, *map(_ms, (prompt.first_token_s, prompt.hit_s, prompt.decode_s)))
    return table


def _newcomer_table(report: EngineReport) -> Table:
    times = report.newcomer
    assert times is not None
    table = Table(title=f"a prompt of {times.length:,} tokens arrives while {times.num_running} answers are running")
    table.add_column("steps of the others")
    for name in ("p50", "p95", "p99", "max"):
        table.add_column(name, justify="right")
    rows = {
        "before": times.before_s,
        "during": times.during_s,
        f"the prompt's own part, {times.chunk_tokens:,.0f} tokens": times.chunk_s,
    }
    for name, spread in rows.items():
        table.add_row(name, *map(_ms, (spread.p50, spread.p95, spread.p99, spread.max)))
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"
