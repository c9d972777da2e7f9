"""What one render may use up, and how much of it is gone.

A template's program is straight-line code of bounded length, loops and calls: so it is enough to look at the clock in every
loop, call and operation, if each operation is itself bounded. That is what sizes are for: no text longer than `max_text`, no
container that, written out with all repetitions, has more than `max_nodes` items (`a = [a, a]` doubles that at each step,
although it allocates next to nothing, and comparing two such lists never ends).
"""

from __future__ import annotations

import time
from collections.abc import ItemsView, Iterable, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from sys import getsizeof
from typing import Any, NamedTuple, TypeVar

from jinja2.utils import Namespace

T = TypeVar("T")
_NODE_BYTES = 32
"""What an item of a container counts as."""


class TemplateLimitError(Exception):
    """The template wants too much; the text is a clause for a person."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one render.

    Attributes:
        cpu_s: processor seconds of its thread.
        max_text: characters of one text, and of the output.
        max_bytes: of all texts and containers that are made, kept or not. Some templates add to one text message by message,
            which for a thousand messages makes a thousand times half of it.
        max_nodes, max_depth: of a container written out.
        max_bits: of a whole number in arithmetic.
        max_steps: of one operation whose time is a product of two lengths.
    """

    cpu_s: float = 5.0
    max_text: int = 4 << 20
    max_bytes: int = 512 << 20
    max_nodes: int = 200_000
    max_depth: int = 100
    max_bits: int = 4_096
    max_steps: int = 200_000_000


class Weight(NamedTuple):
    """A value written out: items, characters, levels."""

    nodes: int
    chars: int
    depth: int


_ATOM = Weight(1, 8, 0)
_CONTAINERS = (list, tuple, dict, set, frozenset)
_WRITTEN_OUT = (*_CONTAINERS, Namespace, KeysView, ItemsView, ValuesView)


class Meter:
    """One render's use. Belongs to the thread that renders."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._num_bytes = 0
        self._cpu_end = time.thread_time() + limits.cpu_s
        self._next_look = time.monotonic() + limits.cpu_s
        self._weights: dict[int, tuple[Any, Weight]] = {}  # by identity; the value is kept so that its identity is

    def tick(self) -> None:
        """Called in every loop, call and operation.

        Reading the thread's own clock takes half a microsecond, the wall clock a tenth of that, and it can only be ahead.
        """
        if time.monotonic() >= self._next_look:
            left = self._cpu_end - time.thread_time()
            if left <= 0:
                raise TemplateLimitError(f"it takes more than {self.limits.cpu_s:g} seconds")
            self._next_look = time.monotonic() + left

    def made(self, value: T) -> T:
        """Account for `value`, which an operation has just made, and give it back."""
        self.tick()
        if isinstance(value, str):
            self.check_text_len(len(value))
            self._charge(getsizeof(value))
        elif isinstance(value, _CONTAINERS):
            self.weigh(value)
            self._charge(len(value) * _NODE_BYTES)
        return value

    def check_text_len(self, num_chars: int) -> None:
        """Called before a text of that length is made."""
        if num_chars > self.limits.max_text:
            raise TemplateLimitError(f"it makes a text of more than {self.limits.max_text:,} characters")

    def check_num_items(self, num_items: int) -> None:
        """Called before a container of that many items is made."""
        if num_items > self.limits.max_nodes:
            raise TemplateLimitError(f"it makes a list of more than {self.limits.max_nodes:,} items")

    def check_steps(self, *factors: int) -> None:
        """Called before an operation that may take the product of `factors` steps."""
        steps = 1
        for factor in factors:
            steps *= factor
        if steps > self.limits.max_steps:
            raise TemplateLimitError("it searches a long text for another long text")

    def check_number(self, value: Any) -> None:
        """Called before arithmetic."""
        if isinstance(value, int) and value.bit_length() > self.limits.max_bits:
            raise TemplateLimitError(f"it calculates with numbers of more than {self.limits.max_bits:,} bits")

    def weigh(self, value: Any) -> Weight:
        """The weight of `value`. Containers do not change while a template runs, so each is weighed once."""
        if isinstance(value, str):
            return Weight(1, len(value), 0)
        if not isinstance(value, _CONTAINERS):
            return _ATOM
        known = self._weights.get(id(value))
        if known is None:
            known = self._weights[id(value)] = (value, self._weigh_items(items_of(value)))
        return known[1]

    def _weigh_items(self, items: Iterable[Any]) -> Weight:
        nodes, chars, depth = 1, 8, 0
        for item in items:
            try:
                weight = self.weigh(item)
            except RecursionError:
                raise TemplateLimitError("it nests lists too deep") from None
            nodes, chars, depth = nodes + weight.nodes, chars + weight.chars, max(depth, weight.depth)
            self.check_num_items(nodes)
            if chars > 2 * self.limits.max_text:
                raise TemplateLimitError(f"it makes a list of more than {2 * self.limits.max_text:,} characters")
        if depth + 1 > self.limits.max_depth:
            raise TemplateLimitError(f"it nests lists deeper than {self.limits.max_depth}")
        return Weight(nodes, chars, depth + 1)

    def text_of(self, value: Any) -> str:
        """`str(value)`, bounded."""
        if type(value) is str:
            return value
        if isinstance(value, _WRITTEN_OUT):
            self.check_written_out(value)
        return str(value)

    def check_written_out(self, value: Any) -> None:
        """Called before `value` is written out. Like `weigh`, but through namespaces, which may have changed since."""
        nodes = chars = 0
        pending = [value]
        while pending:
            item = pending.pop()
            nodes += 1
            if isinstance(item, str):
                chars += len(item)
            elif isinstance(item, Namespace):
                pending += object.__getattribute__(item, "_Namespace__attrs").values()
            elif isinstance(item, _WRITTEN_OUT):
                pending += items_of(item)
            self.check_num_items(max(nodes, len(pending)))
            self.check_text_len(chars)

    def _charge(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        if self._num_bytes > self.limits.max_bytes:
            raise TemplateLimitError("it makes too much text altogether")


def items_of(value: Any) -> Iterable[Any]:
    """What is written out when `value` is: a mapping's keys and values."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return list(value)
