"""`Batch`: one group of rows in one step, as a sampler sees it; and `Column`, which a sampler owns. Engine thread only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from publican.core.sampling import SamplingParams
from publican.engine.sampling.arrays import Array, Host
from publican.engine.sampling.draw import Drawn
from publican.engine.sampling.facts import VocabularyFacts
from publican.engine.sampling.passes import Passes
from publican.engine.sampling.rng import Purpose, uniforms
from publican.engine.sampling.rows import Rows
from publican.engine.sampling.state import RowState


class Column:
    """One number per row of the pipeline, for as long as the row lives."""

    def __init__(self, neutral: float, dtype: Any = np.float64) -> None:
        self._values = np.full(16, neutral, dtype=dtype)
        self._neutral = neutral

    def set(self, row: int, value: float) -> None:
        if row >= len(self._values):
            larger = np.full(max(2 * len(self._values), row + 1), self._neutral, dtype=self._values.dtype)
            larger[: len(self._values)] = self._values
            self._values = larger
        self._values[row] = value

    def take(self, rows: Host) -> Host:
        """[B, 1]."""
        return self._values[rows][:, None]


class Batch:
    """A group of rows that go through the same steps together.

    Attributes:
        rows: which rows of the pipeline, int64 [B].
        states: theirs.
        positions: where their next tokens will stand.
    """

    def __init__(self, passes: Passes, rows: Host, states: Sequence[RowState], facts: VocabularyFacts) -> None:
        self.passes = passes
        self.space = passes.space
        self.rows = rows
        self.states = states
        self.facts = facts
        self._seeds = [state.seed for state in states]
        self._taken: dict[Any, Any] = {}
        self.positions: list[int] = []

    def begin(self) -> None:
        """A new step."""
        self.positions = [len(state.tokens) for state in self.states]

    def take(self, column: Column, dtype: Any = None) -> Array:
        """The rows' values of `column`, [B, 1]; they do not change while the rows live."""
        key = (column, dtype)
        taken = self._taken.get(key)
        if taken is None:
            taken = self._taken[key] = self.space.put(column.take(self.rows), dtype)
        return taken

    def keep(self, name: Any, make: Any) -> Any:
        """`make()`, worked out once for as long as this group of rows stays together."""
        if name not in self._taken:
            self._taken[name] = make()
        return self._taken[name]

    def uniform(self, purpose: Purpose) -> Array:
        """One number in [0, 1) per row: float64 [B, 1]."""
        return self.space.put(self.uniform_host(purpose))

    def uniform_list(self, purpose: Purpose) -> list[float]:
        """The same as plain numbers."""
        return uniforms(self._seeds, self.positions, purpose)

    def uniform_host(self, purpose: Purpose) -> Host:
        """The same on the host."""
        return np.array(uniforms(self._seeds, self.positions, purpose))[:, None]


class Sampler(Protocol):
    """One file each. A sampler owns its columns; a row in which it is off has neutral values there and passes bit for bit."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The names under which it stands in a stack."""
        ...

    def add(self, row: int, params: SamplingParams, stack: frozenset[str]) -> None:
        """Note what a new row wants. A step that is not in `stack` is off, whatever its parameters say."""
        ...

    def apply(self, rows: Rows, batch: Batch, steps: frozenset[str]) -> None:
        """Run `steps`, one or more of its own that stand next to each other."""
        ...


@runtime_checkable
class Feedback(Sampler, Protocol):
    """A sampler whose state follows what is drawn."""

    def accept(self, rows: Rows, batch: Batch, drawn: Drawn) -> None:
        """Note what was drawn; it counts once the engine has appended it."""
        ...
