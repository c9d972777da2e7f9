"""How commands reach the hub: flags, and the variables that people have set for the hub's own tools and for proxies."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from publican.core.errors import SettingsError
from publican.store.http.network import HUB, Network

Command = Callable[..., None]
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?(/s)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_MAX_TOKEN_BYTES = 1_000


def network_options(command: Command) -> Command:
    """Adds ``--offline``, ``--limit-rate`` and ``--connections``."""
    options = (
        click.option("--offline", is_flag=True, help="Send nothing: what is not here is not to be had (HF_HUB_OFFLINE)."),
        click.option("--limit-rate", metavar="RATE", help="No faster than this many bytes a second: 5M, 500k."),
        click.option("--connections", type=click.IntRange(1, 64), default=8, show_default=True, help="Ranges fetched at once."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def network_from(environ: Mapping[str, str], home: Path, flags: dict[str, Any] | None = None) -> Network:
    """The network as the environment describes it; `flags` of `network_options` are taken out of `flags`.

    Raises:
        SettingsError
    """
    flags = flags if flags is not None else {}
    offline, rate = flags.pop("offline", False), flags.pop("limit_rate", None)
    certificates = environ.get("SSL_CERT_FILE") or environ.get("REQUESTS_CA_BUNDLE")
    return Network(
        endpoint=environ.get("HF_ENDPOINT", "").strip() or HUB,
        token=_token(environ, home),
        proxies=_proxies(environ),
        ca_file=Path(certificates) if certificates else None,
        offline=offline or environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on"),
        num_connections=flags.pop("connections", 8),
        max_bytes_per_s=_rate(rate) if rate else None,
    )


def _token(environ: Mapping[str, str], home: Path) -> str | None:
    """A variable, or what the hub's own login has written. A header takes no other characters than these."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if text := environ.get(name, "").strip():
            return _checked(text, name)
    folder = Path(environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface")
    path = Path(environ.get("HF_TOKEN_PATH") or folder / "token")
    with contextlib.suppress(OSError):
        if path.is_file() and path.stat().st_size <= _MAX_TOKEN_BYTES:
            return _checked(path.read_text(errors="replace").strip(), str(path)) or None
    return None


def _checked(token: str, where: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise SettingsError(f"The hub's token in {where} has characters that no token has; set HF_TOKEN to the token alone.")
    return token


def _rate(text: str) -> int:
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match[1]) * _UNITS[match[2].lower()] < 1:
        raise SettingsError(f"--limit-rate {text!r:.40} is not a rate; write it like 5M or 500k (bytes a second).")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _proxies(environ: Mapping[str, str]) -> dict[str, str | None]:
    """httpx's patterns, from the variables that curl knows. Exceptions win, for they are longer."""

    def variable(name: str) -> str:
        return (environ.get(name) or environ.get(name.upper()) or "").strip()

    found: dict[str, str | None] = {}
    for scheme in ("http", "https"):
        if proxy := variable(f"{scheme}_proxy") or variable("all_proxy"):
            found[f"{scheme}://"] = proxy
    for host in (part.strip() for part in variable("no_proxy").split(",")):
        if host == "*":
            return {}
        if found and (match := re.fullmatch(r"\.?([A-Za-z0-9.:_-]+)", host)):
            name = match[1]
            found |= {f"all://{name}": None} | ({} if _is_address(name) else {f"all://*.{name}": None})
    return found


def _is_address(name: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+(:\d+)?|[0-9a-f:]+", name, re.IGNORECASE)) or name == "localhost"
