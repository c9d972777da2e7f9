"""Grammar masks, worked out while the executor computes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from publican.engine.grammar.matcher import Matcher

Unfilled = Sequence[tuple[Matcher, BaseException]]
"""Matchers whose masks could not be worked out, and what came up instead."""


class Masks:
    """One thread that fills masks. llguidance and every executor release the GIL, so both really run."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "masks")
        self._filling: Future[Unfilled] | None = None

    def begin(self, matchers: Sequence[Matcher]) -> None:
        """Start to fill the masks of these; they must not be touched before `wait` returns."""
        if matchers:
            self._filling = self._thread.submit(_fill, matchers)

    def wait(self) -> Unfilled:
        """All that was begun is done, but for these."""
        filling, self._filling = self._filling, None
        return filling.result() if filling is not None else ()

    def close(self) -> None:
        self._thread.shutdown(wait=True)


def _fill(matchers: Sequence[Matcher]) -> Unfilled:
    unfilled = []
    for matcher in matchers:
        try:
            matcher.fill()
        except BaseException as error:  # noqa: BLE001 - a panic of the library's is no Exception, and concerns one answer
            unfilled.append((matcher, error))
    return unfilled
