"""The first seam: a planned step in, logits out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from publican.core.step import StepPlan

Array = Any
"""A two-dimensional float32 array of NumPy or of torch, on whatever device the executor computes. The engine hands it to
`engine.sampling` unopened; nobody else looks inside."""


WINDOW_SLACK_LEN = 64
"""Tokens behind its window that a slot keeps of windowed pages: so far a text can be taken back without being computed anew."""


def num_windowed_pages(window: int, context_len: int, chunk_len: int, page_len: int) -> int:
    """Pages of layers with a window that one conversation needs: its window, slack, a step, and pages begun at both ends."""
    num_pages = -(-(window + WINDOW_SLACK_LEN + chunk_len) // page_len) + 2
    return min(-(-context_len // page_len), num_pages)


@dataclass(frozen=True, slots=True)
class Pages:
    """Memory in pages: `num_pages` of them, `page_len` tokens each.

    Attributes:
        window: how far back layers with a sliding window look, the token itself included; 0 if there are none such.
        num_windowed_pages: with a window, those layers keep theirs in so many pages apart, and give back what has passed.
            The others are for the rest of the layers, and cost nothing if there is no rest.
    """

    page_len: int
    num_pages: int
    window: int = 0
    num_windowed_pages: int = 0

    @property
    def num_tokens(self) -> int:
        return self.page_len * self.num_pages


@dataclass(frozen=True, slots=True)
class Cells:
    """Memory in cells of one token each, which sequences may share (libllama's unified KV cache).

    `can_rewind` is whether a sequence can forget just its tail; recurrent models cannot.
    """

    num_tokens: int
    can_rewind: bool = True


@dataclass(frozen=True, slots=True)
class ExecutorInfo:
    """What an executor can do. Fixed from the moment it is loaded.

    Attributes:
        loader: what a host calls it: ``native``, ``llama``, ``fake``.
        device: where it computes, for people: ``cpu (AVX-512, 2 threads)``.
        vocab_size: the width V of a row of logits.
        context_len: the most tokens that one slot can hold.
        num_slots: slots are 0 … num_slots - 1.
        max_batch_tokens: the most tokens in one plan.
        max_logits: the most rows of logits in one plan.
        memory: pages or cells, never fewer than one slot's context.
        hidden_size: the width of a hidden state, or 0 where the executor cannot give any.
        num_adapters: rows may have adapters 0 … num_adapters - 1, or none.
        is_encoder: each token of a text looks at all of it, so a row is a whole text, from position 0 on, and gives hidden
            states and no logits. Nothing of it stays in memory.
    """

    loader: str
    device: str
    vocab_size: int
    context_len: int
    num_slots: int
    max_batch_tokens: int
    max_logits: int
    memory: Pages | Cells
    hidden_size: int = 0
    num_adapters: int = 0
    is_encoder: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step gave.

    Attributes:
        logits: float32 [plan.num_logits, V]; valid until the next `execute`, the engine may write to it.
        hidden: float32 [plan.num_hidden, hidden_size], or None if the plan wanted none.
    """

    logits: Array
    hidden: Array | None = None


class Top(Protocol):
    """Finds the best of rows of logits."""

    def __call__(self, logits: Array, count: int) -> tuple[Array, Array]:
        """The `count` highest of each row of `logits` [N, V], of equals the lowest token first, never one that is no number.

        `logits` are rows that `execute` returned, or a copy of such on the host. Engine thread only, between steps.

        Returns:
            tokens int32 and logits float32, [N, count]; a row with fewer numbers ends in -1 and -inf.
        """
        ...


class Executor(Protocol):
    """Runs planned steps of one loaded model.

    Called by the engine thread only, so an executor needs no locks. `execute` blocks until the logits can be read (an
    asynchronous device may return earlier and block on first use) and releases the GIL while it computes.
    """

    @property
    def info(self) -> ExecutorInfo: ...

    @property
    def top(self) -> Top | None:
        """Its own way to the best of its rows, where that is faster than the arrays' and equal to it to the last bit."""
        ...

    def execute(self, plan: StepPlan) -> StepResult:
        """Apply `plan.ops` in order, then compute `plan.rows`.

        Raises:
            PlanError: the plan breaks the contract; nothing was changed.
            OutOfMemory: a cell executor has no room for the rows; the ops are applied, the rows are not.
            EngineError: the computation failed; what the slots hold is unknown and the executor must be closed.
        """
        ...

    def close(self) -> None:
        """Give back all memory. May be called twice."""
        ...
