"""`Trail`: a number (or several) that a sampler carries from token to token, and can take back. Engine thread only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class _Offer(NamedTuple):
    position: int
    token: int
    value: tuple[float, ...]


@dataclass(slots=True)
class Trail:
    """The state of one row.

    What a draw would make of the state is offered; it becomes the state once the engine has taken that very token. So a token
    that was put in by somebody else (a grammar, a healed prompt) leaves the state as it was, and a rewind restores what stood
    there.
    """

    value: tuple[float, ...]
    _past: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    _offer: _Offer | None = None

    def offer(self, position: int, token: int, value: tuple[float, ...]) -> None:
        """If `token` comes to stand at `position`, the state becomes `value`."""
        self._offer = _Offer(position, token, value)

    def settle(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """The state behind `tokens`."""
        offer = self._offer
        if offer is not None and offer.position < len(tokens):
            if tokens[offer.position] == offer.token:
                self._past.append((offer.position, self.value))
                self.value = offer.value
            self._offer = None
        return self.value

    def rewind(self, tokens: Sequence[int], num_tokens: int) -> None:
        """Only the first `num_tokens` of `tokens` still stand."""
        if self._offer is not None and self._offer.position < num_tokens:
            self.settle(tokens)
        self._offer = None
        while self._past and self._past[-1][0] >= num_tokens:
            self.value = self._past.pop()[1]

    def copy(self) -> Trail:
        return Trail(self.value, list(self._past), self._offer)
