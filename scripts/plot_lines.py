#!/usr/bin/env python3
"""Draw each docs/plots/NAME.csv as NAME.svg beside it, both axes logarithmic: `python3 scripts/plot_lines.py`.

The first column is x, the others are lines, in milliseconds.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "plots"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 60, 180, 20, 40
COLOURS = ("#0b6e4f", "#7fb69e", "#c1440e", "#888888", "#3d5a80")


def main() -> None:
    for path in sorted(FOLDER.glob("*.csv")):
        with path.open() as file:
            rows = list(csv.reader(file))
        path.with_suffix(".svg").write_text(drawing(rows[0], [[float(cell) for cell in row] for row in rows[1:]]))


def drawing(names: list[str], rows: list[list[float]]) -> str:
    xs = [row[0] for row in rows]
    ys = [y for row in rows for y in row[1:]]
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x) - math.log(xs[0])) / (math.log(xs[-1]) - math.log(xs[0]))
        up = (math.log(y) - math.log(low)) / (math.log(high) - math.log(low))
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>')
    tick: float = low
    while tick <= high:
        x, y = place(xs[0], tick)
        parts.append(f'<line x1="{x}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g} ms</text>')
        tick *= 10
    for x_value in xs:
        x, y = place(x_value, low)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{x_value:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{names[0]}</text>')
    for column, (name, colour) in enumerate(zip(names[1:], COLOURS, strict=False), 1):
        points = [place(row[0], row[column]) for row in rows]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="4 4"' if name.startswith("roofline") else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{points[-1][0] + 6:.1f}" y="{points[-1][1] + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    main()
