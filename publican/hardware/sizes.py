"""Sizes in words: ``24GB`` to bytes, and bytes to what a person reads. Pure; called by whoever plans or prints, anywhere."""

from __future__ import annotations

import re

from publican.core.errors import SettingsError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_UNITS = {"": GIB, "g": GIB, "gb": GIB, "gib": GIB, "m": MIB, "mb": MIB, "mib": MIB, "t": GIB << 10, "tb": GIB << 10}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_LARGEST = 1 << 50


def parse_size(text: str) -> int:
    """Bytes of ``24GB``, ``24``, ``512MB`` or ``1.5GiB``. A card sold with 24 GB has 24 GiB, so the two mean the same here.

    Raises:
        SettingsError: it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise SettingsError(f"{text!r:.40} is not a size of memory; write it like 24GB or 512MB.")
    size = float(match[1]) * _UNITS[match[2].lower()]
    if not 0 <= size <= _LARGEST:
        raise SettingsError(f"{text!r:.40} is more memory than anything has; write it like 24GB or 512MB.")
    return int(size)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Bytes of each of ``24GB,24GB``. Raises SettingsError."""
    return tuple(parse_size(part) for part in text.split(","))


def shown(num_bytes: int) -> str:
    """Three figures or so: ``5.33 GiB``, ``22.6 GiB``, ``512 MiB``."""
    if num_bytes < 0:
        return f"-{shown(-num_bytes)}"
    if num_bytes < GIB:
        return f"{num_bytes / MIB:.0f} MiB" if num_bytes >= 10 * MIB else f"{num_bytes / MIB:.1f} MiB"
    return f"{num_bytes / GIB:.2f} GiB" if num_bytes < 10 * GIB else f"{num_bytes / GIB:.1f} GiB"
