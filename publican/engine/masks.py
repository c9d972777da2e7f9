"""Grammar masks, worked out while the executor computes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from publican.engine.grammar.matcher import Matcher


class Masks:
    """One thread that fills masks. llguidance and every executor release the GIL, so both really run."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "masks")
        self._filling: Future[None] | None = None

    def begin(self, matchers: Sequence[Matcher]) -> None:
        """Start to fill the masks of these; they must not be touched before `wait` returns."""
        if matchers:
            self._filling = self._thread.submit(_fill, matchers)

    def wait(self) -> None:
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.result()

    def close(self) -> None:
        self._thread.shutdown(wait=True)


def _fill(matchers: Sequence[Matcher]) -> None:
    for matcher in matchers:
        matcher.fill()
