"""`Placement`: which device each layer goes to. Arithmetic only; knows no torch."""

from __future__ import annotations

from collections.abc import Sequence

from publican.core.errors import OutOfMemory


class Placement:
    """Fills devices one after another, in their order.

    Args:
        budgets: bytes of each device that weights and cache may take.
        cache_bytes: what each layer's keys and values take.
        is_strict: whether the budgets are a person's: then too little is an error, and not left for the device to find out.
    """

    def __init__(self, budgets: Sequence[int], cache_bytes: Sequence[int], is_strict: bool) -> None:
        self._budgets = budgets
        self._cache_bytes = cache_bytes
        self._num_opened = 0
        self._is_strict = is_strict
        self.current = 0
        self.used = [0] * len(budgets)

    def take(self, num_bytes: int) -> None:
        """Note weights that went to the current device."""
        self.used[self.current] += num_bytes

    def open_layer(self, layer_bytes: int) -> int:
        """The device of the next layer, about `layer_bytes` of weights; its cache is counted from now on.

        Raises:
            OutOfMemory: a strict budget has no room for it.
        """
        cache_bytes = self._cache_bytes[self._num_opened]
        self._num_opened += 1
        needed = layer_bytes + cache_bytes
        while self.used[self.current] + needed > self._budgets[self.current] and self.current + 1 < len(self._budgets):
            self.current += 1
        if self._is_strict and self.used[self.current] + needed > self._budgets[self.current]:
            total = " + ".join(f"{budget / 2**30:.1f}" for budget in self._budgets)
            raise OutOfMemory(
                f"The model does not fit into {total} GB; give the cards more, or take a shorter context or fewer bits."
            )
        self.used[self.current] += cache_bytes
        return self.current
