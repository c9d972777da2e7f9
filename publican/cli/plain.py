"""Texts out of files from anywhere, made fit for a terminal; and sizes and times in words."""

from __future__ import annotations

import re
import time

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONE = re.compile(r"[\ud800-\udfff]")


def printable(text: str, limit: int = 200) -> str:
    """Without what a terminal takes for orders, and not endless."""
    cleaned = _LONE.sub("�", _CONTROLS.sub("", text.replace("\n", " ⏎ ").replace("\t", " ")))
    return cleaned if len(cleaned) <= limit else f"{cleaned[:limit]}…"


def size(num_bytes: float) -> str:
    """As disks and downloads are counted: in thousands."""
    if num_bytes < 1_000:
        return f"{num_bytes:.0f} B"
    if num_bytes < 1_000_000:
        return f"{num_bytes / 1e3:.0f} kB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:,.2f} GB"


def day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at_s))
