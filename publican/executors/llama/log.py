"""Turns what libllama writes to stderr into log records, and remembers its last complaints for error texts.

The library has one log for the whole process and calls it on any thread that works for it.
"""

from __future__ import annotations

import functools
import logging
import re
from collections import deque
from typing import Any

log = logging.getLogger(__name__)

# Its INFO is a page for every load, its WARN remarks that mislead who does not know it; its ERROR comes back as ours.
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.DEBUG, 4: logging.WARNING}
_ERROR, _CONTINUED = 4, 5
_PREFIXES = re.compile(r"^(?:\w+: |error loading model: |failed to initialize the context: )+")


class LibraryLog:
    """Takes libllama's log. `callback` must stay alive for as long as the library is loaded."""

    def __init__(self, library: Any) -> None:
        self._complaints: deque[str] = deque(maxlen=16)
        self.callback = library.llama_log_callback(self._take)
        self._listen = lambda: library.llama_log_set(self.callback, None)
        self._listen()

    def _take(self, level: int, text: bytes, _data: object) -> None:
        if level == _CONTINUED:
            return  # dots of a progress bar
        if level == _ERROR:
            self._complaints.append(_decode(text))
        if log.isEnabledFor(_LEVELS.get(level, logging.DEBUG)):
            log.log(_LEVELS.get(level, logging.DEBUG), "%s", _decode(text))

    def forget(self) -> None:
        """Whatever was complained about so far belongs to something else. Listens again, in case somebody else in this
        process, who uses the library too, took the log."""
        self._complaints.clear()
        self._listen()

    def reason(self) -> str:
        """The first complaint since `forget`, which is the one nearest to the cause, without function names."""
        if not self._complaints:
            return "libllama gave no reason"
        return _PREFIXES.sub("", self._complaints[0]).rstrip(".")


def _decode(text: bytes) -> str:
    return text.decode(errors="replace").strip()


@functools.cache
def library_log(library: Any) -> LibraryLog:
    """The one log of `library`; cached, because the library goes on calling it until the process ends."""
    return LibraryLog(library)
