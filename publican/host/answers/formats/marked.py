"""`MarkedFormat`: what the ways of writing calls between marks share, and how several calls are put together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from publican.core.request import Tool
from publican.host.answers.formats.format import Call, random_id
from publican.host.answers.lark import Lark
from publican.host.answers.marks import Marks


@dataclass(frozen=True)
class MarkedFormat:
    """Follows `CallFormat`, but for reading: that, and one call, is a subclass's matter.

    What is written is ``before``, the calls with ``between`` between them, and ``after``.

    Attributes:
        opens, closes: marks around calls as they are read: more forgiving than what is written.
    """

    name: str
    signs: tuple[str, ...]
    opens: tuple[str, ...]
    closes: tuple[str, ...] = ()
    before: str = ""
    between: str = ""
    after: str = ""
    bare: bool = False
    call_id: Callable[[str, int], str] = random_id

    @property
    def marks(self) -> tuple[str, ...]:
        return (*self.opens, *self.closes)

    @cached_property
    def _opening(self) -> Marks:
        return Marks(self.opens)

    @cached_property
    def _closing(self) -> Marks:
        return Marks(self.closes)

    def write(self, calls: Sequence[Call]) -> str:
        return self.before + self.between.join(self._written(call, at) for at, call in enumerate(calls)) + self.after

    def demand(self, lark: Lark, tools: Sequence[Tool], most: int) -> str:
        call = lark.one_of([lark.rule(self._demanded(lark, tool)) for tool in tools])
        calls = lark.several(call, lark.text(self.between), most)
        return lark.sequence(lark.text(self.before), calls, lark.text(self.after))

    def _written(self, call: Call, index: int) -> str:
        """`call`, which is number `index` of those that are written together."""
        raise NotImplementedError

    def _demanded(self, lark: Lark, tool: Tool) -> str:
        """An expression for one call of `tool`."""
        raise NotImplementedError
