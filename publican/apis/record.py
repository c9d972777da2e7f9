"""`Record`: what one call was and how it went, for the metrics and for one line of the log. Never what was said in it.

The line is the message ``request`` of the logger ``publican.requests`` with everything as its `extra`. Event loop only.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from typing import Any

from publican.apis.metrics import Metrics
from publican.core.errors import PublicanError
from publican.core.events import ChoiceFinished, Delta, Event, Failed, Finished, Started, ToolCallDelta, Usage
from publican.core.request import Request

log = logging.getLogger("publican.requests")

_PLAIN = re.compile(r"[\w.:/+,@-]*")

GONE = 499
"""The status in our own books of a call whose client hung up."""


class Record:
    """Made when a call arrives; `end` it once."""

    def __init__(self, metrics: Metrics, dialect: str, path: str) -> None:
        self.dialect = dialect
        self.path = path
        self.user = ""
        self._metrics = metrics
        self._arrived_s = time.perf_counter()
        self._requests: tuple[Request, ...] = ()
        self._model = ""
        self._first_s = 0.0
        self._newest_s: dict[int, float] = {}
        self._num_prompt_tokens = 0
        self._num_completion_tokens = 0
        self._usage: Usage | None = None
        self._reasons: list[str] = []
        self._error: PublicanError | None = None
        self._watcher: Callable[[Event], None] | None = None
        self._ended = False

    @property
    def id(self) -> str:
        return self._requests[0].id if self._requests else ""

    def asks(self, requests: tuple[Request, ...], model: str) -> None:
        """The call turned out to be these requests to `model`."""
        self._requests, self._model = requests, model

    def watch(self, watcher: Callable[[Event], None]) -> None:
        """Tell `watcher` of every event too."""
        self._watcher = watcher

    def saw(self, base: int, event: Event) -> None:
        """An event arrived. Called for each token, so it does little."""
        if self._watcher is not None:
            self._watcher(event)
        if type(event) is Delta or type(event) is ToolCallDelta:
            now = time.perf_counter()
            index = base + event.index
            if type(event) is Delta:
                self._num_completion_tokens += len(event.tokens)
            newest = self._newest_s.get(index)
            if newest is not None:
                self._metrics.inter_token_s.observe(now - newest)
            elif not self._first_s:
                self._first_s = now
                self._metrics.first_token_s.observe(now - self._arrived_s)
            self._newest_s[index] = now
        elif isinstance(event, Started):
            self._num_prompt_tokens += event.num_prompt_tokens
        elif isinstance(event, ChoiceFinished):
            self._reasons.append(event.reason.value)
        elif isinstance(event, Finished):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._error = event.error

    def end(self, status: int, error: PublicanError | None = None) -> None:
        """The answer is out, or will never be: write it all down. Later calls say nothing."""
        if self._ended:
            return
        self._ended = True
        error = error or self._error
        total_s = time.perf_counter() - self._arrived_s
        if self._usage is None and self._num_prompt_tokens:  # it broke off: what was computed counts all the same
            self._usage = Usage(self._num_prompt_tokens, self._num_completion_tokens)
        self._metrics.ended(self.dialect, status, type(error).__name__ if error else "", total_s, self._usage)
        level = logging.INFO if self._requests or status >= 400 else logging.DEBUG
        log.log(level, "request", extra=self._line(status, error, total_s))

    def _line(self, status: int, error: PublicanError | None, total_s: float) -> dict[str, Any]:
        line: dict[str, Any] = {"dialect": self.dialect, "path": self.path, "status": status, "user": _quoted(self.user)}
        if self._requests:
            usage = self._usage
            line |= {
                "id": self.id,
                "model": _quoted(self._model),
                "prompts": len(self._requests),
                "prompt_tokens": usage.num_prompt_tokens if usage else 0,
                "cached": usage.num_cached_tokens if usage else 0,
                "completion_tokens": usage.num_completion_tokens if usage else 0,
                "queue_s": round(usage.queue_s, 4) if usage else 0.0,
                "finish": ",".join(dict.fromkeys(self._reasons)) or ("gone" if status == GONE else "failed"),
            }
        if self._first_s:
            line["ttft_s"] = round(self._first_s - self._arrived_s, 4)
        line["total_s"] = round(total_s, 4)
        if error is not None:
            line["error"] = type(error).__name__
        return line


def _quoted(name: str) -> str:
    """A name that a caller can choose, so that it cannot pass for another field, or for another line."""
    return name if _PLAIN.fullmatch(name) else json.dumps(name[:200])
