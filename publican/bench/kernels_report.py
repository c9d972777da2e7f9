"""Kernel and shape measurements as plain text, for a bare machine has no library for tables."""

from __future__ import annotations

from collections.abc import Sequence

from publican.bench.kernels import Ceilings, KernelTime
from publican.bench.shape_times import StepTime


def ceilings_text(ceilings: Ceilings) -> str:
    return (
        f"{ceilings.device}: copies {ceilings.bytes_per_s / 1e9:,.0f} GB/s (read and written), "
        f"bfloat16 products {ceilings.flops_per_s / 1e12:,.1f} TFLOP/s"
    )


def kernels_text(times: Sequence[KernelTime]) -> str:
    """Share: what the bytes or operations take at the measured rates, of the time it took."""
    rows = [("kernel", "case", "µs", "share")]
    rows += [(each.name, each.case, f"{each.seconds * 1e6:,.1f}", f"{each.share:.0%}") for each in times]
    return columns(rows)


def steps_text(title: str, weight_bytes: int, times: Sequence[StepTime]) -> str:
    rows = [(f"{title}, {weight_bytes / 2**30:.2f} GB", "ms", "tok/s", "share")]
    for each in times:
        if each.left_out:
            rows.append((each.case, each.left_out, "", ""))
        else:
            rows.append((each.case, f"{each.seconds * 1e3:,.2f}", f"{each.tokens_per_s:,.1f}", f"{each.share:.0%}"))
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words in columns, the first one to the left."""
    widths = [max(len(row[i]) for row in rows if all(row[1:]) or i == 0) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            word.ljust(width) if i == 0 else word.rjust(width) for i, (word, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
