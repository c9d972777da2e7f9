"""When to try again, and after how long. Knows statuses and clocks, not what is being fetched.

`Interrupted` is what a try ends in that may be repeated; it never leaves the store. Used on the event loop of a transfer.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import re
import time
from collections.abc import Callable, Mapping

from publican.core.errors import ModelFileError
from publican.store.http.network import Network

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""Statuses that pass. Those from 520 on are Cloudflare's."""

_LONGEST_BACKOFF_S = 60.0
_LIMIT_RESET = re.compile(r"\bt=(\d{1,6})\b")


class Interrupted(Exception):
    """A try that did not work out but may next time. `wait_s` is what the server asked for, if it did."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def asked_wait_s(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """Seconds that a server asks to be left alone: `Retry-After` as a number or a date, or the hub's ``RateLimit: …;t=55``."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text[:9])
    if text:
        try:
            at_s = email.utils.parsedate_to_datetime(text).timestamp()
        except (ValueError, OverflowError):
            return None
        return max(0.0, at_s - (time.time() if now_s is None else now_s))
    match = _LIMIT_RESET.search(headers.get("ratelimit", ""))
    return float(match[1]) if match else None


class Gate:
    """Closed while a server asked to be left alone, for everyone who would go there."""

    def __init__(self) -> None:
        self._open_at_s: dict[str, float] = {}

    def close(self, host: str, wait_s: float) -> None:
        at_s = asyncio.get_running_loop().time() + wait_s
        self._open_at_s[host] = max(at_s, self._open_at_s.get(host, 0.0))

    async def passing(self, host: str) -> None:
        left_s = self._open_at_s.get(host, 0.0) - asyncio.get_running_loop().time()
        if left_s > 0:
            await asyncio.sleep(left_s)


class Patience:
    """How often one thing was tried in vain. `pause` waits, or gives up for good.

    Args:
        what: what is being tried, for the error: ``model.gguf``.
        notify: told why and for how many seconds, before each pause.
    """

    def __init__(self, network: Network, what: str, notify: Callable[[str, float], None] | None = None) -> None:
        self._network = network
        self._what = what
        self._notify = notify
        self._num_failed = 0

    def got_somewhere(self) -> None:
        self._num_failed = 0

    async def pause(self, reason: Interrupted) -> None:
        """Wait before the next try.

        Raises:
            ModelFileError: it was the last one.
        """
        self._num_failed += 1
        if reason.wait_s is not None and reason.wait_s > self._network.longest_wait_s:
            raise ModelFileError(
                f"{self._what} cannot be fetched: {reason}, and asks to wait {reason.wait_s:,.0f} seconds; try again then."
            )
        if self._num_failed >= self._network.tries:
            raise ModelFileError(
                f"{self._what} cannot be fetched: {reason} ({self._num_failed} tries); try again later, it goes on from here."
            )
        wait_s = min(_LONGEST_BACKOFF_S, self._network.backoff_s * 2.0 ** (self._num_failed - 1)) * random.uniform(0.5, 1.0)
        wait_s = max(wait_s, reason.wait_s or 0.0)
        if self._notify is not None:
            self._notify(str(reason), wait_s)
        await asyncio.sleep(wait_s)
