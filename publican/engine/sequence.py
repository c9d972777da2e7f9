"""`Sequence`: one choice of one job on its way through the engine. The only mutable thing there is per request."""

from __future__ import annotations

from dataclasses import dataclass, field

from publican.core.events import TokenOutput
from publican.core.ids import SlotId, TokenId
from publican.engine.job import Job
from publican.engine.text import TextStream


@dataclass(slots=True, eq=False)
class Group:
    """The sequences of one job. `arrival` orders jobs for as long as the engine runs."""

    job: Job
    arrival: int
    arrived_s: float
    sequences: list[Sequence] = field(default_factory=list)
    first_planned_s: float = 0.0
    first_token_s: float = 0.0
    num_cached_tokens: int = 0
    prompt_outputs: list[TokenOutput] | None = None
    """Collects the prompt's log probabilities where they are wanted, until the prompt is through."""

    @property
    def num_unfinished(self) -> int:
        return sum(not s.finished for s in self.sequences)


@dataclass(slots=True, eq=False)
class Sequence:
    """`num_computed` chases `len(tokens)`; there is no prefill phase and no decode phase.

        tokens   0 ........ num_prompt ....... len(tokens)
        in slot  0 .... num_computed

    Engine thread only. `slot` is set while it runs; `row`, its place in the sampler, from the first time it runs until
    it is finished, so that a preempted sequence keeps its sampler's state.
    """

    group: Group
    index: int
    tokens: list[TokenId]
    text: TextStream
    num_computed: int = 0
    slot: SlotId | None = None
    row: int | None = None
    skipped: int = 0
    """Steps in a row that gave it nothing while others got something."""
    stopped_by: str | TokenId | None = None
    finished: bool = False

    @property
    def job(self) -> Job:
        return self.group.job

    @property
    def num_prompt(self) -> int:
        return len(self.group.job.tokens)

    @property
    def num_generated(self) -> int:
        return len(self.tokens) - self.num_prompt

    @property
    def num_pending(self) -> int:
        """Tokens that are known and not computed; at least 1 for as long as it is unfinished."""
        return len(self.tokens) - self.num_computed

    @property
    def reads_whole_prompt(self) -> bool:
        """Whether the logits of every prompt position are still wanted, so that nothing may come from the cache."""
        outputs = self.group.prompt_outputs
        return self.index == 0 and outputs is not None and len(outputs) < self.num_prompt
