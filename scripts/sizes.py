#!/usr/bin/env python3
"""Lines per room, the largest files and functions, and what changed against a revision: `python3 scripts/sizes.py [REV]`.

The house aims at a median file of 120 lines, nine in ten below 300 and none above 600, and functions below 80.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def files_now() -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-files", "publican/**.py", "publican/*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name: (ROOT / name).read_text() for name in listed.stdout.split() if (ROOT / name).exists()}


def files_at(revision: str) -> dict[str, str]:
    tree = ["git", "ls-tree", "-r", "--name-only", revision, "publican"]
    listed = subprocess.run(tree, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split() if name.endswith(".py")]
    shows = (
        subprocess.run(["git", "show", f"{revision}:{n}"], cwd=ROOT, capture_output=True, text=True, check=True) for n in names
    )
    return {name: show.stdout for name, show in zip(names, shows, strict=True)}


def per_room(files: dict[str, str]) -> Counter[str]:
    rooms: Counter[str] = Counter()
    for name, text in files.items():
        parts = Path(name).parts
        rooms[parts[1] if len(parts) > 2 else "(top)"] += text.count("\n")
    return rooms


def functions(files: dict[str, str]) -> list[tuple[int, str]]:
    found = []
    for name, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((node.end_lineno - node.lineno + 1, f"{name}:{node.lineno} {node.name}"))
    return sorted(found, reverse=True)


def main() -> None:
    files = files_now()
    before = per_room(files_at(sys.argv[1])) if len(sys.argv) > 1 else Counter()
    for room, lines in sorted(per_room(files).items()):
        change = f"  {lines - before[room]:+}" if before else ""
        print(f"{room:12} {lines:6}{change}")
    lengths = sorted(text.count("\n") for text in files.values())
    nine_in_ten = lengths[int(0.9 * (len(lengths) - 1))]
    median = statistics.median(lengths)
    print(f"\n{len(lengths)} files: median {median:.0f}, nine in ten below {nine_in_ten}, longest {lengths[-1]}")
    for name, text in sorted(files.items(), key=lambda item: -item[1].count("\n"))[:5]:
        print(f"  {text.count(chr(10)):5} {name}")
    found = functions(files)
    spans = [lines for lines, _ in found]
    print(f"{len(found)} functions: 95% below {spans[int(0.05 * len(spans))]} lines")
    for lines, name in found[:5]:
        print(f"  {lines:5} {name}")


if __name__ == "__main__":
    main()
