"""`RowState`: what the pipeline keeps of one running sequence on the host. Engine thread only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from publican.core.ids import TokenId
from publican.core.sampling import SamplingParams
from publican.engine.sampling.feedback import Trail
from publican.engine.sampling.history import Counts, History


@dataclass(slots=True, eq=False)
class RowState:
    """One row.

    Attributes:
        tokens: the sequence's live list, prompt first; the engine appends to it.
        num_prompt: how many of them are the prompt.
        stop_ids: tokens that end the answer besides the model's own.
        order, stack: what the request wants to run (see stack.py).
        seed: after `rng.mixed_seed`.
        history, counts: built by the first sampler that needs them.
        trails: what feedback samplers carry from token to token, by the sampler's name.
        memory: what else a sampler keeps, by its name; dropped at a rewind.
    """

    params: SamplingParams
    tokens: Sequence[TokenId]
    num_prompt: int
    num_logprobs: int | None
    stop_ids: tuple[TokenId, ...]
    order: tuple[str, ...]
    stack: tuple[str, ...]
    seed: int
    history: History | None = None
    counts: Counts | None = None
    trails: dict[str, Trail] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def num_generated(self) -> int:
        return len(self.tokens) - self.num_prompt

    def synced(self) -> History:
        """The history, caught up with the tokens."""
        if self.history is None:
            self.history = History()
        self.history.extend(self.tokens[self.history.size :])
        return self.history

    def rewind(self, num_tokens: int) -> None:
        """Only the first `num_tokens` tokens still stand; call it before what replaces them is appended."""
        for trail in self.trails.values():
            trail.rewind(self.tokens, num_tokens)
        if self.history is not None and self.history.size > num_tokens:
            self.history.rewind(num_tokens)
            self.counts = None
            self.memory.clear()
