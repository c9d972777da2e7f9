"""A sampler report as tables for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from publican.bench.files import report_body
from publican.bench.samplers import SamplerCase, SamplerReport

KIND = "publican bench samplers"


def samplers_body(report: SamplerReport) -> dict[str, Any]:
    """The whole report, for `files.write_report`. Times are seconds."""
    return report_body(KIND, report)


def samplers_tables(report: SamplerReport) -> list[Table]:
    """One table per stack: microseconds per step, medians; publican's best is set against each peer."""
    stacks = dict.fromkeys(case.stack for case in report.cases)
    return [_table(stack, [case for case in report.cases if case.stack == stack]) for stack in stacks]


def _table(stack: str, cases: Sequence[SamplerCase]) -> Table:
    names = list(dict.fromkeys(time.candidate for case in cases for time in case.times))
    lacking = {time.candidate: time.leaves_out for case in cases for time in case.times if time.leaves_out}
    notes = [f"{name} leaves out {what}" for name, what in lacking.items()]
    table = Table(title=f"{stack} · µs per step", caption="; ".join(["medians", *notes]))
    for name in ("vocabulary", "batch", *names):
        table.add_column(name, justify="right")
    for case in cases:
        by_name = {time.candidate: time for time in case.times}
        cells = [f"{by_name[name].median_s * 1e6:,.0f}" if name in by_name else "" for name in names]
        table.add_row(f"{case.vocab_size:,}", f"{case.batch_size}", *cells)
    return table
